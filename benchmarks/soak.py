"""What a server is like after hours: --hours of speech in one session, then --sessions sessions one after another.

Each part has a server of its own, which is kept busy: the client sends as fast as it is read, never more than a
few seconds ahead. Memory, cost and delay are noted all along, memory and cost of all the server's processes. Cost
is processor time per second of audio, and delay is counted in audio (what the recogniser had looked at when it
said a word, less the word's end), so that other work on the machine changes neither. The first minute of audio of
each part is not judged: a server makes what it needs when it first needs it.
"""

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.machine import Machine, this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import table_parser, wide_console
from benchmarks.percentiles import percentiles
from benchmarks.served import process_at, served
from benchmarks.soak_plot import plot_soak
from benchmarks.speech_tars import SAMPLE_RATE, SpeechTar
from voicewire.client import connect
from voicewire.streaming.messages import TranscriptMessage

_PIECE_S = 0.3
_AHEAD_S = 4.0
_WARMING_S = 60.0  # of audio, of each part
_HEADINGS = (
    "part", "sessions", "audio, h", "times real time", "memory, MiB", "grown by", "most less least", "cost, ms/s",
    "changed by", "delay, median s", "P95", "changed by",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """A stretch of the soak.

    Attributes:
        part: `one session` or `many sessions`.
        until_s: seconds of audio of this part, up to the stretch's end.
        wall_s: seconds that the stretch took.
        audio_s: seconds of audio in it.
        memory_mib: resident memory at its end, of all of the server's processes.
        cost_ms: their processor time per second of audio.
        delays_s: of each committed word, on the clock of the audio.
        waits_s: of each session that ended in it, from the last audio to `done`, on the wall's clock.
        processes_mib: the memory process by process, the server's own first.
    """

    part: str
    until_s: float
    wall_s: float
    audio_s: float
    memory_mib: float
    cost_ms: float
    delays_s: tuple[float, ...]
    waits_s: tuple[float, ...] = ()
    processes_mib: tuple[float, ...] = ()


class Observer:
    """Watches the server's processes; each `note` is a sample of what came since the one before, given to `keep`.

    Attributes:
        count: of samples.
    """

    def __init__(self, server: psutil.Process, part: str, keep: Callable[[Sample], None]) -> None:
        self.count = 0
        self._keep = keep
        self._processes = [server, *server.children(recursive=True)]
        self._part = part
        self._until_s = 0.0
        self._busy_s, self._began = self._now()
        self.delays_s: list[float] = []
        self.waits_s: list[float] = []

    def see(self, event: object) -> None:
        """Takes an event of the client's."""
        if isinstance(event, TranscriptMessage):
            self.delays_s += [round(word.emitted - word.end, 3) for word in event.words]

    def note(self, until_s: float) -> None:
        """The stretch that ends at so many seconds of audio."""
        busy_s, now = self._now()
        audio_s = until_s - self._until_s
        resident = [process.memory_info().rss / 2**20 for process in self._processes]
        sample = Sample(
            part=self._part,
            until_s=round(until_s, 1),
            wall_s=round(now - self._began, 2),
            audio_s=round(audio_s, 1),
            memory_mib=round(sum(resident), 1),
            cost_ms=round(1000 * (busy_s - self._busy_s) / audio_s, 2),
            delays_s=tuple(self.delays_s),
            waits_s=tuple(round(wait, 3) for wait in self.waits_s),
            processes_mib=tuple(round(each, 1) for each in resident),
        )
        self._busy_s, self._began, self._until_s = busy_s, now, until_s
        self.delays_s, self.waits_s = [], []
        self.count += 1
        self._keep(sample)

    def _now(self) -> tuple[float, float]:
        times = [process.cpu_times() for process in self._processes]
        return float(sum(each.user + each.system for each in times)), time.perf_counter()


def speech_without_end(paths: Sequence[Path], seed: int) -> Iterator[np.ndarray]:
    """The tars' clips, int16, in a new order each time round; all are decoded before this returns."""
    clips = [
        (clip.samples * 32_767).astype(np.int16) for path in paths for clip in SpeechTar(path).clips(None)
    ]
    order = np.random.default_rng(seed)
    rounds = (order.permutation(len(clips)) for _ in count())
    return (clips[index] for one_round in rounds for index in one_round)


async def one_session(
    url: str, speech: Iterator[np.ndarray], hours: float, every_s: float, observer: Observer
) -> None:
    """Hours of audio through one session, with a sample every so many seconds of it."""
    sent_s, processed_s = 0.0, 0.0

    async def source() -> AsyncIterator[bytes]:
        nonlocal sent_s
        while sent_s < hours * 3600:
            clip = next(speech)
            for start in range(0, len(clip), round(_PIECE_S * SAMPLE_RATE)):
                piece = clip[start : start + round(_PIECE_S * SAMPLE_RATE)]
                sent_s += len(piece) / SAMPLE_RATE
                yield piece.tobytes()

    async with connect(url, sample_rate=SAMPLE_RATE, max_backlog_s=_AHEAD_S) as stream:
        async for event in stream.feed(source()):
            observer.see(event)
            if isinstance(event, TranscriptMessage):
                processed_s = event.audio_processed
            if processed_s >= (observer.count + 1) * every_s:
                observer.note(processed_s)


async def many_sessions(
    url: str, speech: Iterator[np.ndarray], most: int, every: int, observer: Observer
) -> None:
    """Sessions of a clip each, one after another, with a sample for every so many of them."""
    audio_s = 0.0
    for number in range(1, most + 1):
        clip = next(speech)
        async with connect(url, sample_rate=SAMPLE_RATE, max_backlog_s=_AHEAD_S) as stream:
            await stream.send(clip.tobytes())
            asked = time.perf_counter()
            done = await stream.close()
            observer.waits_s.append(time.perf_counter() - asked)
            async for event in stream:
                observer.see(event)
        audio_s += done.totals.audio_s
        if number % every == 0:
            observer.note(audio_s)


def summaries(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What each part came to."""
    names = dict.fromkeys(sample.part for sample in samples)
    return [summary([sample for sample in samples if sample.part == name]) for name in names]


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """What one part came to. Memory has grown by what it is at the end more than after the first minute; cost and
    delay changed by what the second half of what follows that minute differs from the first.
    """
    judged = [sample for sample in samples if sample.until_s >= _WARMING_S] or samples[-1:]
    half = max(1, len(judged) // 2)
    early, late = judged[:half], judged[half:] or judged[:half]

    def change(first: float, second: float) -> float:
        return round(second / first - 1, 4) if first else 0.0

    def delays(of: Sequence[Sample]) -> dict[str, Any]:
        return percentiles([delay for sample in of for delay in sample.delays_s])

    def cost(of: Sequence[Sample]) -> float:
        return sum(s.cost_ms * s.audio_s for s in of) / sum(s.audio_s for s in of)

    memory = [sample.memory_mib for sample in judged]
    return {
        "part": samples[0].part,
        "sessions": sum(len(sample.waits_s) for sample in samples) or 1,
        "audio_h": round(samples[-1].until_s / 3600, 3),
        "pace": round(sum(s.audio_s for s in samples) / sum(s.wall_s for s in samples), 2),
        "memory_mib": max(memory),
        "memory_grown": change(memory[0], memory[-1]),
        "memory_spread": change(min(memory), max(memory)),
        "cost_ms": round(cost(judged), 1),
        "cost_changed": change(cost(early), cost(late)),
        "delay_s": delays(judged),
        "delay_changed": change(delays(early)["p95"] or 0.0, delays(late)["p95"] or 0.0),
        "wait_s": percentiles([wait for sample in judged for wait in sample.waits_s]),
    }


def report(parts: Sequence[dict[str, Any]], machine: Machine) -> str:
    """The table as Markdown."""
    rows = [
        [
            part["part"],
            str(part["sessions"]),
            f"{part['audio_h']:.2f}",
            f"{part['pace']:.1f}",
            f"{part['memory_mib']:.0f}",
            f"{part['memory_grown']:+.1%}",
            f"{part['memory_spread']:.1%}",
            f"{part['cost_ms']:.0f}",
            f"{part['cost_changed']:+.1%}",
            f"{part['delay_s']['median'] or 0:.2f}",
            f"{part['delay_s']['p95'] or 0:.2f}",
            f"{part['delay_changed']:+.1%}",
        ]
        for part in parts
    ]
    return f"{markdown_table(_HEADINGS, rows, left=1)}\n{machine}\n"


def soak(args: argparse.Namespace, keep: Callable[[Sample], None]) -> None:
    """Runs both parts."""
    speech = speech_without_end(args.data, seed=0)
    if args.hours > 0:
        with _watched(args.threads, "one session", keep) as (url, observer):
            every_s = args.hours * 3600 / args.samples
            asyncio.run(one_session(url, speech, args.hours, every_s, observer))
    if args.sessions > 0:
        with _watched(args.threads, "many sessions", keep) as (url, observer):
            every = max(1, args.sessions // args.samples)
            asyncio.run(many_sessions(url, speech, args.sessions, every, observer))


@contextmanager
def _watched(threads: int, part: str, keep: Callable[[Sample], None]) -> Iterator[tuple[str, Observer]]:
    """A server of so many recognisers, and who watches it."""
    options = ["--threads", str(threads), "--set", "session_s=86400", "--max-sessions", "4"]
    with served(options) as url:
        yield url, Observer(process_at(url), part, keep)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = table_parser("soak", __doc__)
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw memory, cost and delay over time")
    parser.add_argument("--hours", type=float, default=2.0, help="of one session; default %(default)s")
    parser.add_argument("--sessions", type=int, default=500, help="one after another; default %(default)s")
    parser.add_argument("--samples", type=int, default=120, help="of each part; default %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="of the server; default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    machine = this_machine()
    samples: list[Sample] = []

    def keep(sample: Sample) -> None:
        """What there is so far is in the file, should this end before its time."""
        samples.append(sample)
        outcome = {
            "machine": asdict(machine),
            "parts": summaries(samples),
            "samples": list(map(asdict, samples)),
        }
        args.json.write_text(json.dumps(outcome) + "\n")

    args.json.parent.mkdir(parents=True, exist_ok=True)
    soak(args, keep)
    text = report(summaries(samples), machine)
    wide_console().print(text)
    if args.markdown:
        replace_section(args.markdown, "soak", text)
    if args.plot:
        plot_soak(samples, args.plot)


if __name__ == "__main__":
    main()
