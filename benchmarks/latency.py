"""Delay of words after they were spoken, error of their times, speed by stage, memory of a stream.

    python -m benchmarks.latency --data TAR... --json OUT [--settings CHUNK:COMMIT,...] [--limit N] [--served]

Only clips whose words have known times are played. The delays of a word are the seconds from its end in the
audio until it stands in the shown text for good, and until it is committed; each clip is played once more and
flushed at its end, for the delay of the last word after a flush. By default one stream runs in this process on the
audio's own clock, as if computing took no time: that is the delay of the method. With --served real pieces go
through a socket to a real server at the pace of speech: everything counts, and it takes twice the clips' length.
"""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.latency_report import LatencyOutcome, Speed, plot_delays, print_report, write_markdown
from benchmarks.machine import this_machine
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.playing import play_in_process, play_to_server
from benchmarks.recogniser import load_recogniser, run_facts, write_report
from benchmarks.served import served
from benchmarks.speech_tars import Clip, SpeechTar
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber


def measure_in_process(
    transcriber: BatchTranscriber, settings: StreamSettings, clips: Sequence[Clip], console: Console
) -> LatencyOutcome:
    """One stream alone; the first clip is played once before, so that nothing is measured cold."""
    play_in_process(transcriber, settings, clips[0])
    before = dict(transcriber.stage_seconds)
    shown = track(clips, f"{settings.chunk_ms}:{settings.commit_ms}", console=console)
    playbacks = [play_in_process(transcriber, settings, clip) for clip in shown]
    audio_s = sum(playback.audio_s for playback in playbacks)
    stages = {
        name: (now - before.get(name, 0.0)) / audio_s for name, now in transcriber.stage_seconds.items()
    }
    compute_s = sum(playback.compute_s for playback in playbacks)
    return LatencyOutcome(
        settings, playbacks, Speed(compute_s / audio_s, stages, transcriber.state_bytes_per_slot)
    )


def measure_served(
    url: str, settings: StreamSettings, clips: Sequence[Clip], console: Console
) -> LatencyOutcome:
    """One client at a time, at the pace of speech."""

    async def play() -> LatencyOutcome:
        await play_to_server(url, settings, clips[0])
        shown = track(clips, f"{settings.chunk_ms}:{settings.commit_ms} served", console=console)
        return LatencyOutcome(settings, [await play_to_server(url, settings, clip) for clip in shown], None)

    return asyncio.run(play())


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("latency", __doc__, "300:1200", threads=1)
    add_limit(parser)
    parser.add_argument("--served", action="store_true", help="through a real server at the pace of speech")
    parser.add_argument(
        "--markdown",
        type=Path,
        help="write the tables into this file's section `latency` or `latency-served` too",
    )
    parser.add_argument("--plot", type=Path, help="write the distribution of the delays as a PNG")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    console = wide_console()
    tars = [SpeechTar(path) for path in args.data]
    clips = [clip for tar in tars for clip in tar.clips(args.limit, timed=True)]
    if not clips:
        raise SystemExit("none of these clips has word times: delays need them")
    settings = parse_settings(args.settings)
    run = {"served": args.served, "sets": [tar.name for tar in tars]}
    transcriber = load_recogniser(args, slots=1)
    run |= run_facts(transcriber, args)
    if args.served:
        recogniser = ["--model", args.model, "--adapter", args.adapter, "--device", args.device]
        # Chosen here, so that the report says for certain what the server ran with.
        arithmetic = ["--precision", transcriber.precision.name, "--threads", str(args.threads)]
        del transcriber
        with served([*recogniser, *arithmetic]) as url:
            outcomes = [measure_served(url, one, clips, console) for one in settings]
    else:
        outcomes = [measure_in_process(transcriber, one, clips, console) for one in settings]
    print_report(console, outcomes)
    write_report(args.json, {"settings": [one.figures() for one in outcomes]}, run)
    if args.markdown:
        section = "latency-served" if args.served else "latency"
        write_markdown(args.markdown, section, outcomes, this_machine())
    if args.plot:
        plot_delays(outcomes, args.plot)


if __name__ == "__main__":
    main()
