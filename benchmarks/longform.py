"""Long streams: the clips of a tar joined with pauses. Errors against short clips, cost and memory by the minute.

    python -m benchmarks.longform --data TAR... --json OUT [--minutes 10] [--streams N]

The first stream runs a second time with its first and last minute exchanged: so the cost of a stream's end is
compared with that of its start on the same speech.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.batch import Job, transcribe_jobs
from benchmarks.long_stream import LongRun, LongStream, compare_ends, long_streams, run_long
from benchmarks.options import benchmark_parser, parse_settings, wide_console
from benchmarks.recogniser import load_recogniser, run_facts, write_report
from benchmarks.speech_tars import Clip, SpeechTar
from benchmarks.word_errors import WordErrors, count_errors, total
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

LEAST_MINUTES = 3


def run_with_progress(
    transcriber: BatchTranscriber, settings: StreamSettings, stream: LongStream, name: str, progress: Progress
) -> LongRun:
    task = progress.add_task(name, total=stream.seconds)
    run = LongRun()
    for run in run_long(transcriber, settings, stream):
        progress.update(task, completed=len(run.cpu_s) / 10)
    return run


def run_short(
    transcriber: BatchTranscriber, settings: StreamSettings, clips: Sequence[Clip], progress: Progress
) -> WordErrors:
    """The same clips, each as a stream of its own."""
    task = progress.add_task("clip by clip", total=len(clips))
    errors = []
    jobs = (Job(settings, partial(_same, clip)) for clip in clips)
    for _, clip, trace in transcribe_jobs(transcriber, jobs):
        errors.append(count_errors(clip.text, trace.text))
        progress.advance(task)
    return total(errors)


def figures(
    settings: StreamSettings, streams: Sequence[LongStream], runs: Sequence[LongRun], short: WordErrors
) -> dict[str, Any]:
    """Word errors of the streams and of their clips, and the cost and memory of the first stream."""
    long = total([count_errors(stream.text, run.text) for stream, run in zip(streams, runs, strict=True)])
    return {
        "chunk_ms": settings.chunk_ms,
        "commit_ms": settings.commit_ms,
        "streams": len(streams),
        "minutes": [round(stream.seconds / 60, 2) for stream in streams],
        "long": asdict(long) | {"wer": long.rate},
        "short": asdict(short) | {"wer": short.rate},
        "difference": (long.rate or 0.0) - (short.rate or 0.0),
        "cpu_s_per_audio_s_by_minute": runs[0].cost_by_minute(),
        "resident_bytes_by_minute": runs[0].resident,
    }


def print_figures(console: Console, found: dict[str, Any]) -> None:
    table = Table(title=f"{found['streams']} long streams at {found['chunk_ms']}:{found['commit_ms']}")
    for heading in ("", "WER %", "sub", "del", "ins", "words"):
        table.add_column(heading, justify="right")
    for name, title in (("long", "one stream"), ("short", "clip by clip")):
        one = found[name]
        counts = (str(one[what]) for what in ("substitutions", "deletions", "insertions", "words"))
        table.add_row(title, f"{100 * one['wer']:.2f}", *counts)
    console.print(table)
    costs = " ".join(f"{1000 * cost:.0f}" for cost in found["cpu_s_per_audio_s_by_minute"])
    resident = " ".join(f"{size / 2**20:.0f}" for size in found["resident_bytes_by_minute"])
    console.print(f"processor ms per second of audio, by minute: {costs}")
    console.print(f"the same clips at the end over at the start: {found['end_over_start']:.3f}")
    console.print(
        f"state of a stream: {found['state_bytes_per_stream'] / 2**20:.1f} MiB; resident MiB: {resident}"
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("longform", __doc__, "300:1200", threads=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="least length of a stream")
    parser.add_argument("--streams", type=int, help="at most so many")
    parser.add_argument("--slots", type=int, default=8, help="streams that run as one batch, clip by clip")
    args = parser.parse_args(arguments)
    if args.minutes < LEAST_MINUTES:
        parser.error(
            f"--minutes must be at least {LEAST_MINUTES}: the first and the last minute are compared"
        )
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    [settings] = parse_settings(args.settings)
    console = wide_console()
    clips = (clip for path in args.data for clip in SpeechTar(path).clips())
    streams = list(long_streams(clips, args.minutes))[: args.streams]
    if not streams:
        raise SystemExit(f"the clips of these tars together are shorter than {args.minutes} minutes")
    alone = load_recogniser(args, slots=1)
    with Progress(console=console) as progress:
        warm = LongStream(streams[0].clips[:1], streams[0].pieces[:1])
        run_with_progress(alone, settings, warm, "warm-up", progress)
        runs = [
            run_with_progress(alone, settings, stream, f"stream {at + 1}", progress)
            for at, stream in enumerate(streams)
        ]
        swapped = run_with_progress(alone, settings, streams[0].swapped(), "ends exchanged", progress)
        short = run_short(
            load_recogniser(args, slots=args.slots),
            settings,
            [clip for stream in streams for clip in stream.clips],
            progress,
        )
    found = figures(settings, streams, runs, short)
    found["end_over_start"] = compare_ends(runs[0], swapped, streams[0])
    found["state_bytes_per_stream"] = alone.state_bytes_per_slot
    print_figures(console, found)
    write_report(args.json, found, run_facts(alone, args))


def _same(clip: Clip) -> Clip:
    return clip


if __name__ == "__main__":
    main()
