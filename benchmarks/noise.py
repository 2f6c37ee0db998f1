"""An hour in which nobody speaks: words that were made up and committed, and words that were shown for a moment.

    python -m benchmarks.noise --data noise-00.tar --json OUT [--minutes 60]

Two thirds are the clips of the tars' second half by name (training may hear the first) at three levels, the rest
is digital silence and faint white and pink noise. Each kind is one stream with interim text on. A committed word
is a mistake: the exit status is 1 where there is one.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.batch import Job, transcribe_jobs
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.noise_beds import Bed, noise_beds
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.recogniser import load_recogniser, run_facts, write_report
from benchmarks.speech_tars import SAMPLE_RATE, Clip, SpeechTar
from benchmarks.stability import stability
from benchmarks.trace import Trace
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

_HEADINGS = ("sound", "chunk:commit", "minutes", "committed words", "per minute", "shown words", "per minute")


@dataclass(frozen=True, slots=True)
class Heard:
    """What the recogniser made of one bed.

    Attributes:
        committed: the words that were committed, as text.
        shown: how many words appeared in the tail.
    """

    name: str
    settings: StreamSettings
    minutes: float
    committed: tuple[str, ...]
    shown: int

    @classmethod
    def of(cls, bed: Bed, settings: StreamSettings, trace: Trace) -> "Heard":
        words = tuple(word.text.strip() for word in trace.words)
        return cls(bed.name, settings, bed.minutes, words, stability(trace).shown)

    def figures(self) -> dict[str, Any]:
        return {
            "sound": self.name,
            "chunk_ms": self.settings.chunk_ms,
            "commit_ms": self.settings.commit_ms,
            "minutes": round(self.minutes, 2),
            "committed_words": len(self.committed),
            "committed_per_minute": len(self.committed) / self.minutes,
            "shown_words": self.shown,
            "shown_per_minute": self.shown / self.minutes,
            "text": " ".join(self.committed),
        }

    def row(self) -> tuple[str, ...]:
        setting = f"{self.settings.chunk_ms}:{self.settings.commit_ms}"
        counts = (len(self.committed), self.shown)
        pairs = (text for count in counts for text in (str(count), f"{count / self.minutes:.2f}"))
        return self.name, setting, f"{self.minutes:.1f}", *pairs


def listen(transcriber: BatchTranscriber, settings: StreamSettings, beds: Sequence[Bed]) -> Iterator[Heard]:
    """Each bed as a stream of its own, with interim text; given as they are done."""
    jobs = (Job(settings, partial(_as_clip, bed), bed) for bed in beds)
    for job, _, trace in transcribe_jobs(transcriber, jobs):
        assert isinstance(job.tag, Bed)
        yield Heard.of(job.tag, settings, trace)


def in_all(heard: Sequence[Heard]) -> Heard:
    """The sum of one setting's beds."""
    words = tuple(word for one in heard for word in one.committed)
    minutes = sum(one.minutes for one in heard)
    return Heard("all", heard[0].settings, minutes, words, sum(one.shown for one in heard))


def recordings(paths: Sequence[Path], limit: int | None) -> list[np.ndarray]:
    """The held-out clips of tars without speech."""
    tars = [SpeechTar(path) for path in paths]
    return [tar.read(key).samples for tar in tars for key in tar.held_out_keys(limit)]


def print_heard(console: Console, rows: Sequence[Heard]) -> None:
    table = Table(title="Words where nobody speaks")
    for at, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if at > 1 else "left", no_wrap=True)
    for one in rows:
        table.add_row(*one.row())
    console.print(table)
    for one in rows:
        if one.committed and one.name != "all":
            console.print(f"{one.name}: {' '.join(one.committed)}", markup=False)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("noise", __doc__, "300:1200", threads=1)
    add_limit(parser)
    parser.add_argument("--minutes", type=float, default=60.0, help="in all; default %(default)s")
    parser.add_argument("--slots", type=int, default=8, help="streams that run as one batch")
    parser.add_argument("--markdown", type=Path, help="write the table into this file's section `noise` too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    settings = parse_settings(args.settings)
    console = wide_console()
    beds = noise_beds(recordings(args.data, args.limit), args.minutes)
    transcriber = load_recogniser(args, slots=args.slots)
    rows: list[Heard] = []
    for one in settings:
        name = f"{one.chunk_ms}:{one.commit_ms}"
        heard = list(track(listen(transcriber, one, beds), name, total=len(beds), console=console))
        heard.sort(key=lambda found: [bed.name for bed in beds].index(found.name))
        rows += [*heard, in_all(heard)]
    print_heard(console, rows)
    write_report(args.json, {"heard": [one.figures() for one in rows]}, run_facts(transcriber, args))
    if args.markdown:
        table = markdown_table(_HEADINGS, [one.row() for one in rows], left=2)
        replace_section(args.markdown, "noise", f"{table}\n{this_machine()}\n")
    if any(one.committed for one in rows):
        sys.exit(1)


def _as_clip(bed: Bed) -> Clip:
    return Clip(bed.name, bed.samples, "", (), len(bed.samples) / SAMPLE_RATE, "", "")


if __name__ == "__main__":
    main()
