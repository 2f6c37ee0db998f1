"""How near the recogniser comes to what a thread of this processor can do.

    python -m benchmarks.floor --data TAR... --json OUT [--streams 20] [--markdown docs/load.md]

The streams of one recogniser, begun at different moments of a commit, go on in step with the speech. For its two
great stages, encoder and decoder, the products are counted: their operations, and the bytes of their operands.
Neither can be quicker than the operations at the speed of a great product, or the bytes at the speed of reading
weights, both tried here on the same thread; the greater of the two is the floor. A stream whose words are not
looked at between commits, as on a busy server, stands beside one with all looks.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import benchmark_parser, parse_settings, wide_console
from benchmarks.recogniser import load_recogniser, run_facts, write_report
from benchmarks.speech_tars import SAMPLE_RATE, SpeechTar
from voicewire.asr.effort import FULL
from voicewire.asr.packed import pack_linears
from voicewire.asr.settings import FRAME_SAMPLES, StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

STAGES = ("encoder", "decoder")
_LOOKS = {"all": FULL, "none": replace(FULL, look_every=0)}
_WARM_S, _COUNTED_S = 4.8, 4.8  # of speech: as long as it takes until every shape has been met; whole commits
_PEAK_ROWS, _PEAK_WIDTH = 1600, 2048
_READ_WIDTH = 8192  # 128 MiB of bfloat16: more than any cache
_HEADINGS = ("looks", "stage", "Gop", "MB", "floor, ms", "took, ms", "reached %")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one thread: operations per second in a great product, bytes per second of weights that are read once."""

    operations: float
    bytes: float

    @classmethod
    def tried(cls, dtype: torch.dtype) -> "Limits":
        """The best of several tries; takes a second or two."""
        peak = _took(dtype, _PEAK_ROWS, _PEAK_WIDTH)
        read = _took(dtype, 1, _READ_WIDTH)
        return cls(2 * _PEAK_ROWS * _PEAK_WIDTH**2 / peak, dtype.itemsize * _READ_WIDTH**2 / read)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage needs and takes for a second of one stream's audio."""

    looks: str
    name: str
    operations: float
    bytes: float
    floor_s: float
    took_s: float

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        figures = (self.operations / 1e9, self.bytes / 1e6, 1000 * self.floor_s, 1000 * self.took_s)
        shown = (f"{figures[0]:.2f}", f"{figures[1]:.0f}", f"{figures[2]:.1f}", f"{figures[3]:.1f}")
        return self.looks, self.name, *shown, f"{100 * self.floor_s / self.took_s:.0f}"


class Products(TorchDispatchMode):
    """Counts operations and bytes of the matrix products that run within it, stage by stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = "decoder"
        self.operations: dict[str, int] = defaultdict(int)
        self.bytes: dict[str, int] = defaultdict(int)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm", "addmm", "matmul", "linear", "_linear_pointwise"):
            left, right = [one for one in args if isinstance(one, Tensor) and one.dim() > 1][-2:]
            self.operations[self.stage] += 2 * result.numel() * left.shape[-1]
            operands = (left, right, result)
            self.bytes[self.stage] += sum(one.numel() * result.element_size() for one in operands)
        return result

    def within(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, counted to that stage."""

        def counted(*args: Any) -> Any:
            self.stage = stage
            try:
                return method(*args)
            finally:
                self.stage = "decoder"

        return counted


class Streams:
    """So many streams of one recogniser, each at its own place of the speech and of its commits."""

    def __init__(
        self,
        transcriber: BatchTranscriber,
        settings: StreamSettings,
        speech: np.ndarray,
        count: int,
        looks: str,
    ) -> None:
        self._transcriber, self._speech, self._tick = (
            transcriber,
            speech,
            settings.chunk_frames * FRAME_SAMPLES,
        )
        self._at = {transcriber.open(settings): place * len(speech) // count for place in range(count)}
        for place, slot in enumerate(self._at):
            transcriber.set_effort(slot, _LOOKS[looks])
            self._push(slot, place * settings.commit_frames * FRAME_SAMPLES // count)

    def advance(self, seconds: float) -> None:
        """Tick by tick, all streams together."""
        for _ in range(round(seconds * SAMPLE_RATE / self._tick)):
            for slot in self._at:
                self._push(slot, self._tick)
            while self._transcriber.step():
                pass

    def close(self) -> None:
        for slot in self._at:
            self._transcriber.close(slot)

    def _push(self, slot: int, count: int) -> None:
        places = np.arange(self._at[slot], self._at[slot] + count) % len(self._speech)
        self._transcriber.push(slot, self._speech[places])
        self._at[slot] += count


def measure(
    transcriber: BatchTranscriber,
    settings: StreamSettings,
    speech: np.ndarray,
    args: argparse.Namespace,
    limits: Limits,
    looks: str,
) -> list[Stage]:
    """Both stages; counted over the first part of the speech, timed over the rest."""
    streams = Streams(transcriber, settings, speech, args.streams, looks)
    streams.advance(_WARM_S)
    counted = args.streams * _COUNTED_S
    encoder, products = transcriber.encoder, Products()
    encode, convolve = encoder.encode, encoder.convolve
    encoder.encode, encoder.convolve = (products.within("encoder", one) for one in (encode, convolve))  # type: ignore[method-assign]
    with products:
        streams.advance(_COUNTED_S)
    encoder.encode, encoder.convolve = encode, convolve  # type: ignore[method-assign]
    transcriber.stage_seconds.clear()
    streams.advance(args.seconds)
    streams.close()
    stages = []
    for name in STAGES:
        operations, read = products.operations[name] / counted, products.bytes[name] / counted
        floor_s = max(operations / limits.operations, read / limits.bytes)
        took_s = transcriber.stage_seconds[name] / (args.streams * args.seconds)
        stages.append(Stage(looks, name, operations, read, floor_s, took_s))
    return stages


def _took(dtype: torch.dtype, rows: int, width: int) -> float:
    """Seconds of one product, as the model makes it."""
    layers = nn.Sequential(nn.Linear(width, width, bias=False, dtype=dtype)).requires_grad_(False)
    if dtype == torch.bfloat16:
        pack_linears(layers, {})
    given, best = torch.randn(rows, width).to(dtype), float("inf")
    for _ in range(12):
        began = time.perf_counter()
        layers(given)
        best = min(best, time.perf_counter() - began)
    return best


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("floor", __doc__, "300:1200", threads=1)
    parser.add_argument("--streams", type=int, default=20, help="of the recogniser; default %(default)s")
    parser.add_argument("--seconds", type=float, default=12.0, help="that are timed; default %(default)s")
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    [settings] = parse_settings(args.settings)
    speech = np.concatenate([clip.samples for path in args.data for clip in SpeechTar(path).clips(40)])
    transcriber = load_recogniser(args, slots=args.streams)
    with torch.inference_mode():
        limits = Limits.tried(transcriber.precision.dtype)
        stages = [
            stage for looks in _LOOKS for stage in measure(transcriber, settings, speech, args, limits, looks)
        ]
    table = Table(*_HEADINGS, title="For each second of one stream's audio")
    for stage in stages:
        table.add_row(*stage.cells)
    wide_console().print(table)
    figures = {"limits": asdict(limits), "stages": [asdict(stage) for stage in stages]}
    write_report(args.json, figures, run_facts(transcriber, args) | {"streams": args.streams})
    if args.markdown:
        said = f"{limits.operations / 1e9:.0f} Gop/s in a great product, {limits.bytes / 1e9:.1f} GB/s read"
        text = f"{markdown_table(_HEADINGS, (stage.cells for stage in stages), left=2)}\n"
        replace_section(
            args.markdown, "floor", f"{text}{args.streams} streams, one thread: {said}.\n{this_machine()}\n"
        )


if __name__ == "__main__":
    main()
