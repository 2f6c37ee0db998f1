"""How fast each codec is as a stream on one thread: pieces of several lengths, one stream and many in a batch.

    python -m benchmarks.codec_speed --data TAR --json OUT [--markdown docs/codec.md]

The figures are processor time over the audio's length, of one stream: 0.01 is a hundred streams on a core. Rounds
of each kind take turns, so that what else the machine does meets all of them.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soxr
import torch
from rich.progress import track
from rich.table import Table

from benchmarks.codec_choice import add_codecs, named_codecs
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import wide_console
from benchmarks.recogniser import write_report
from benchmarks.speech_tars import SAMPLE_RATE, SpeechTar
from voicewire.codecs import Codec, CodecBatch, Tokens

PIECES_MS = (40, 80, 240)
STREAMS = (1, 32)
_HEADINGS = ("codec", "way", "streams", "piece, ms", "real-time factor", "least", "most")


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of one thread per second of one stream's audio, round by round."""

    codec: str
    way: str
    streams: int
    piece_ms: int
    factors: tuple[float, ...]

    def figures(self) -> dict[str, Any]:
        return asdict(self) | {"real_time_factor": median(self.factors)}

    def row(self) -> tuple[str, ...]:
        factors = (median(self.factors), min(self.factors), max(self.factors))
        return self.codec, self.way, str(self.streams), str(self.piece_ms), *(f"{one:.4f}" for one in factors)


def measure(codec: Codec, speech: np.ndarray, rounds: int) -> Iterator[Speed]:
    """Both directions of one codec at its highest bitrate, in every size of piece and of batch.

    Args:
        speech: float32 of shape (samples,) at the codec's rate; each stream hears it from another place on.
        rounds: how often each is measured.
    """
    trials: dict[tuple[str, int, int], Callable[[], float]] = {}
    for streams in STREAMS:
        heard = [np.roll(speech, at * len(speech) // streams) for at in range(streams)]
        coded = [codec.encode(samples) for samples in heard]
        for piece_ms in PIECES_MS:
            audio = [_cut_audio(samples, piece_ms * codec.sample_rate // 1000) for samples in heard]
            tokens = [_cut_tokens(whole, round(piece_ms * codec.frame_rate / 1000)) for whole in coded]
            trials["encode", streams, piece_ms] = _trial(codec.encoders, audio)
            trials["decode", streams, piece_ms] = _trial(codec.decoders, tokens)
    seconds = len(speech) / codec.sample_rate
    found: dict[tuple[str, int, int], list[float]] = {kind: [] for kind in trials}
    for _ in track(range(rounds), codec.name, transient=True):
        for kind, trial in trials.items():
            found[kind].append(trial() / seconds / kind[1])
    for (way, streams, piece_ms), factors in found.items():
        yield Speed(codec.name, way, streams, piece_ms, tuple(factors))


def _trial(
    batch_of: Callable[[int], CodecBatch[Any, Any]], streams: Sequence[Sequence[Any]]
) -> Callable[[], float]:
    """Runs streams side by side through a fresh batch; gives the processor time that their pushes took."""

    def run() -> float:
        batch = batch_of(len(streams))
        slots = [batch.open() for _ in streams]
        start = time.process_time()
        for pieces in zip(*streams, strict=True):
            batch.push(dict(zip(slots, pieces, strict=True)))
        return time.process_time() - start

    return run


def _cut_audio(samples: np.ndarray, length: int) -> list[np.ndarray]:
    return [samples[start : start + length] for start in range(0, len(samples), length)]


def _cut_tokens(whole: Tokens, frames: int) -> list[Tokens]:
    """Pieces of so many frames."""
    pieces = []
    for start in range(0, whole.frames, frames):
        codes = whole.codes[start : start + frames]
        samples = min(whole.samples - start * whole.frame_samples, len(codes) * whole.frame_samples)
        pieces.append(replace(whole, first_frame=start, samples=samples, codes=codes))
    return pieces


def read_speech(tar: SpeechTar, seconds: float, rate: int) -> np.ndarray:
    """Float32 of shape (samples,): the first clips of the tar, joined and cut."""
    clips = []
    while sum(map(len, clips)) < seconds * SAMPLE_RATE:
        clips.append(tar.read(tar.keys()[len(clips)]).samples)
    samples = np.concatenate(clips)[: int(seconds * SAMPLE_RATE)]
    return samples if rate == SAMPLE_RATE else soxr.resample(samples, SAMPLE_RATE, rate)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codec_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="TAR")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    parser.add_argument(
        "--markdown", type=Path, help="write the table into this file's section `codec-speed` too"
    )
    parser.add_argument("--seconds", type=float, default=4.8, help="of audio in a round; default %(default)s")
    parser.add_argument("--rounds", type=int, default=7)
    add_codecs(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    torch.set_num_threads(1)
    console = wide_console()
    found, left_out = named_codecs(args)
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}", style="bold red", markup=False)
    tar = SpeechTar(args.data)
    speeds = [
        speed
        for codec in found
        for speed in measure(codec, read_speech(tar, args.seconds, codec.sample_rate), args.rounds)
    ]
    table = Table(title="Seconds of one thread per second of one stream's audio")
    for at, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if at > 1 else "left", no_wrap=True)
    for speed in speeds:
        table.add_row(*speed.row())
    console.print(table)
    run = {"seconds": args.seconds, "rounds": args.rounds, "threads": 1}
    write_report(args.json, {"speed": [speed.figures() for speed in speeds]}, run)
    if args.markdown:
        rows = markdown_table(_HEADINGS, [speed.row() for speed in speeds], left=2)
        replace_section(args.markdown, "codec-speed", f"{rows}\n{this_machine()}\n")


if __name__ == "__main__":
    main()
