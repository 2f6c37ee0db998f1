"""The curve of delay against errors: chunk and commit sizes, and what else could be set, on the same clips.

    python -m benchmarks.tradeoff --data TAR... --json OUT [--markdown MARKDOWN] [--plot PNG] [--limit N]

Every pair of --settings is a point; the values of --beams, --reluctance, --haste, --passes and --window are
further points, each alone, at the sizes of --around. Each clip is followed by two seconds of silence, so that its
last words come in their own time. Delays are the method's own: computing takes no time on their clock
(`benchmarks.latency --served` counts it). Sets without word times are aligned once by offline Whisper. A run that
was stopped goes on where it was.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from benchmarks.accuracy import AccuracyRun
from benchmarks.accuracy_outcome import rate_figures
from benchmarks.batch import Job, transcribe_jobs
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.playing import QUIET_SAMPLES
from benchmarks.recogniser import load_recogniser, recogniser_fingerprint, run_facts, write_report
from benchmarks.reference_times import ReferenceTimes
from benchmarks.speech_tars import Clip, SpeechTar
from benchmarks.trace import Trace
from benchmarks.tradeoff_plot import plot_tradeoff
from benchmarks.tradeoff_point import CONSTANTS, Judged, Point, PointOutcome
from benchmarks.transcript_cache import TranscriptCache, TranscriptKey
from voicewire.asr.transcriber import BatchTranscriber

HEADINGS = (
    "point", "WER %", "95 %", "committed, median s", "P95", "interim WER %", "interim, median s", "P95",
    "taken back %",
)  # fmt: skip
SIZES = "100:400,100:1200,200:200,200:600,300:300,300:600,300:1200"


@dataclass(frozen=True, slots=True, eq=False)
class TradeoffRun:
    """The clips of `tars` that `limit` leaves, and where what was said of them is kept."""

    tars: Sequence[SpeechTar]
    limit: int | None
    cache: TranscriptCache
    times: ReferenceTimes
    progress: Progress

    def judge(self, transcriber: BatchTranscriber, point: Point) -> PointOutcome:
        """`transcriber` was loaded for the point, whose constant is applied."""
        varied = () if point.value is None else (point.varied, point.value)
        recogniser = recogniser_fingerprint(transcriber, point.settings.beam, *varied)
        keys = [
            TranscriptKey(recogniser, f"quiet trace {point.sizes}", tar.name, clip)
            for tar in self.tars
            for clip in tar.keys(self.limit)
        ]
        tars = {tar.name: tar for tar in self.tars}
        missing = [key for key in keys if self.cache.get(key) is None]
        task = self.progress.add_task(
            f"{point.label:>16}", total=len(keys), completed=len(keys) - len(missing)
        )
        jobs = (Job(point.settings, partial(_then_quiet, tars[key.tar], key.clip), key) for key in missing)
        for job, _, trace in transcribe_jobs(transcriber, jobs):
            assert isinstance(job.tag, TranscriptKey)
            self.cache.add(job.tag, trace.as_text())
            self.progress.advance(task)
        return PointOutcome(point, tuple(self._judged(tars[key.tar], key) for key in keys))

    def _judged(self, tar: SpeechTar, key: TranscriptKey) -> Judged:
        text, _ = tar.reference(key.clip)
        trace = Trace.from_text(self.cache.get(key) or "")
        return Judged.of(text, self.times.words(tar, key.clip), trace)


def choose_points(args: argparse.Namespace) -> list[Point]:
    """Raises SettingsError and ValueError."""
    [around] = parse_settings(args.around)
    sizes = [Point("sizes", one) for one in parse_settings(args.settings)]
    constants = [
        Point(name, around, float(value))
        for name in CONSTANTS
        for value in getattr(args, name).split(",")
        if value
    ]
    beams = [Point("beam", replace(around, beam=int(one))) for one in args.beams.split(",") if one]
    return [*sizes, *constants, *beams]


def run_points(
    run: TradeoffRun, args: argparse.Namespace, points: Sequence[Point]
) -> tuple[list[PointOutcome], dict[str, Any]]:
    """In the order of `points`, and the facts of the run."""
    widest = max(point.settings.beam for point in points)
    usual = load_recogniser(args, slots=args.slots, widest_beam=widest)
    outcomes = []
    for point in points:
        with point.applied():
            # Loaded anew, since some constants are read then.
            transcriber = usual if point.value is None else load_recogniser(args, slots=args.slots)
            outcomes.append(run.judge(transcriber, point))
    return outcomes, run_facts(usual, args)


def rows(points: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A table's, below `HEADINGS`, from the points' figures."""
    for point in points:
        committed, interim = (_two(point["delay_s"][kind]) for kind in ("committed", "interim"))
        span = f"{100 * point['wer_low']:.1f} to {100 * point['wer_high']:.1f}"
        wrong, shown_wrong = (f"{100 * one['wer']:.1f}" for one in (point, point["interim"]))
        revoked = "-" if point["revoked_share"] is None else f"{100 * point['revoked_share']:.1f}"
        yield point["label"], wrong, span, *committed, shown_wrong, *interim, revoked


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("tradeoff", __doc__, SIZES, threads=1)
    add_limit(parser)
    parser.add_argument("--around", default="300:1200", help="sizes at which the others vary")
    parser.add_argument("--reluctance", default="0,0.75,2.5", help="to wait: off the logit of saying no more")
    parser.add_argument("--haste", default="0,1", help="of the tail: off that logit, too")
    parser.add_argument("--passes", default="2", help="of the decoder, a look at the tail")
    parser.add_argument("--window", default="4", help="seconds after which a pause ends one")
    parser.add_argument("--beams", default="2,4", help="widths beside 1")
    parser.add_argument("--slots", type=int, default=8, help="streams that run as one batch")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curve")
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    points = choose_points(args)
    console = wide_console()
    cache = TranscriptCache(args.json.with_suffix(".transcripts.jsonl"))
    times = ReferenceTimes(cache, args.model)
    tars = [SpeechTar(path) for path in args.data]
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        outcomes, facts = run_points(TradeoffRun(tars, args.limit, cache, times, progress), args, points)
        whole = AccuracyRun(tars, args.limit, cache, times, progress).offline(
            args.model, args.device, args.threads
        )
    cache.close()
    figures = [outcome.figures() for outcome in outcomes]
    table = Table(*HEADINGS, title="Delay against errors")
    for row in rows(figures):
        table.add_row(*row)
    console.print(table)
    offline = rate_figures([errors for outcome in whole for errors in outcome.errors])
    report = {"sets": [tar.name for tar in tars], "offline": offline, "points": figures}
    write_report(args.json, report, facts)
    if args.markdown:
        text = f"{markdown_table(HEADINGS, rows(figures), left=1)}\n{this_machine()}\n"
        replace_section(args.markdown, "tradeoff", text)
    if args.plot:
        plot_tradeoff(figures, offline, args.around, args.plot)


def _two(delays: Mapping[str, float | None]) -> list[str]:
    """Median and P95; dashes where no word was recognised."""
    values = (delays[name] for name in ("median", "p95"))
    return ["-" if value is None else f"{value:.2f}" for value in values]


def _then_quiet(tar: SpeechTar, key: str) -> Clip:
    clip = tar.read(key)
    return replace(clip, samples=np.concatenate([clip.samples, np.zeros(QUIET_SAMPLES, np.float32)]))


if __name__ == "__main__":
    main()
