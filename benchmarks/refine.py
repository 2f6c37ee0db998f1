"""The second pass through a real server: what it puts right, how long it takes, whether live words wait for it.

    python -m benchmarks.refine --data TAR... [--sessions N] [--limit N] --json OUT
    python -m benchmarks.refine --data TAR... --fast [--limit N] --json OUT

Clips are played at the pace of speech, N at a time, each a session of its own that asks for `refine` and closes at
its end; then the same once more without it. Delays are wall-clock seconds from the end of a word, or of a
stretch's last word, as played. With `--fast` clips are sent as fast as the server takes them and every stretch is
waited for: what was committed and what was refined are then compared with the references.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.percentiles import percentiles
from benchmarks.recogniser import write_report
from benchmarks.served import served
from benchmarks.speech_tars import SAMPLE_RATE, Clip, SpeechTar
from benchmarks.word_errors import WordErrors, count_errors, difference_interval, total
from voicewire.asr.settings import StreamSettings
from voicewire.client import Stream, connect
from voicewire.streaming.messages import ErrorCode, RefinedMessage, TranscriptMessage, Warning
from voicewire.streaming.subtitles.transcripts import TranscriptBuilder

PIECE_S = 0.1
# For a stretch to be heard once more, where nothing else counts.
PATIENCE_S = 600.0
_ERRORS = ("set", "committed WER %", "refined WER %", "difference", "left out", "words", "clips")
_DELAYS = (
    "set", "refined after, s", "P95", "left out", "committed after, s", "P95", "without: after, s", "P95", "clips",
)  # fmt: skip


@dataclass(slots=True)
class Heard:
    """What one session said of its clip.

    Attributes:
        committed, refined: the whole text, without the second pass and with it.
        committed_s: delays of the committed words.
        refined_s: delays of the refined stretches.
        left_out: stretches that were not heard once more.
    """

    clip: Clip
    committed: str = ""
    refined: str = ""
    committed_s: list[float] = field(default_factory=list)
    refined_s: list[float] = field(default_factory=list)
    left_out: int = 0


async def hear(
    url: str, clip: Clip, settings: StreamSettings, *, refine: bool = True, fast: bool = False
) -> Heard:
    """Plays a clip to a session of its own."""
    heard, plain, better = Heard(clip), TranscriptBuilder(), TranscriptBuilder()
    async with connect(
        url,
        encoding="pcm_f32le",
        sample_rate=SAMPLE_RATE,
        chunk_ms=settings.chunk_ms,
        commit_ms=settings.commit_ms,
        refine=refine,
    ) as stream:
        began = time.perf_counter()
        player = asyncio.create_task(_play(stream, clip, began, fast=fast))
        async for event in stream:
            played_s = time.perf_counter() - began
            better.add(event)
            if isinstance(event, RefinedMessage):
                heard.refined_s.append(played_s - event.end)
                continue
            plain.add(event)
            if isinstance(event, TranscriptMessage):
                heard.committed_s += [played_s - word.end for word in event.words]
            elif isinstance(event, Warning) and event.code is ErrorCode.NOT_REFINED:
                heard.left_out += 1
        await player
    heard.committed, heard.refined = plain.finish("en").text, better.finish("en").text
    return heard


async def _play(stream: Stream, clip: Clip, began: float, *, fast: bool) -> None:
    size = round(PIECE_S * SAMPLE_RATE)
    for start in range(0, len(clip.samples), size):
        if not fast:
            await asyncio.sleep(max(0.0, began + (start + size) / SAMPLE_RATE - time.perf_counter()))
        await stream.send(clip.samples[start : start + size])
    await stream.close(PATIENCE_S)


async def hear_all(url: str, tar: SpeechTar, args: argparse.Namespace, *, refine: bool = True) -> list[Heard]:
    """All clips, so many at a time."""
    settings = parse_settings(args.settings)[0]
    waiting = tar.keys(args.limit)[::-1]
    heard: list[Heard] = []

    async def work(late_s: float) -> None:
        await asyncio.sleep(late_s)
        while waiting:
            clip = tar.read(waiting.pop())
            heard.append(await hear(url, clip, settings, refine=refine, fast=args.fast))

    # Apart, so that their ticks and their ends do not fall together.
    await asyncio.gather(*(work(0.37 * number) for number in range(args.sessions)))
    return sorted(heard, key=lambda one: one.clip.key)


def figures(name: str, with_it: Sequence[Heard], without: Sequence[Heard]) -> dict[str, Any]:
    """What one tar came to."""
    committed = [count_errors(one.clip.text, one.committed) for one in with_it]
    refined = [count_errors(one.clip.text, one.refined) for one in with_it]
    difference = difference_interval(refined, committed)
    return {
        "set": name,
        "clips": len(with_it),
        "words": total(committed).words,
        "committed_wer": _rate(committed),
        "refined_wer": _rate(refined),
        "difference_low": difference.low if difference else None,
        "difference_high": difference.high if difference else None,
        "left_out": sum(one.left_out for one in with_it),
        "refined_after_s": percentiles([delay for one in with_it for delay in one.refined_s]),
        "committed_after_s": percentiles([delay for one in with_it for delay in one.committed_s]),
        "without_committed_after_s": percentiles([delay for one in without for delay in one.committed_s]),
    }


def _rate(errors: Sequence[WordErrors]) -> float:
    return total(errors).rate or 0.0


def error_row(found: dict[str, Any]) -> tuple[str, ...]:
    points = 100 * (found["refined_wer"] - found["committed_wer"])
    span = f"{100 * found['difference_low']:+.1f} to {100 * found['difference_high']:+.1f}"
    return (
        found["set"],
        f"{100 * found['committed_wer']:.1f}",
        f"{100 * found['refined_wer']:.1f}",
        f"{points:+.1f} ({span})",
        str(found["left_out"]),
        str(found["words"]),
        str(found["clips"]),
    )


def delay_row(found: dict[str, Any]) -> tuple[str, ...]:
    def delay(name: str) -> tuple[str, ...]:
        return tuple("-" if found[name][at] is None else f"{found[name][at]:.2f}" for at in ("median", "p95"))

    return (
        found["set"],
        *delay("refined_after_s"),
        str(found["left_out"]),
        *delay("committed_after_s"),
        *delay("without_committed_after_s"),
        str(found["clips"]),
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("refine", __doc__, "300:1200", threads=1)
    add_limit(parser)
    parser.add_argument("--sessions", type=int, default=4, help="clips played at a time; default %(default)s")
    parser.add_argument("--fast", action="store_true", help="errors alone, as fast as it goes")
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    console = wide_console()
    server = ["--model", args.model, "--adapter", args.adapter, "--device", args.device]
    server += ["--precision", args.precision, "--threads", str(args.threads), "--set", "codecs=none"]
    # A slot is free a moment after its session's end.
    server += ["--max-sessions", str(2 * args.sessions)]
    if args.fast:
        server += ["--set", f"refine_s={PATIENCE_S}", "--set", f"drain_s={PATIENCE_S}"]
    found = []
    headings, row = (_ERRORS, error_row) if args.fast else (_DELAYS, delay_row)
    with served(server) as url:
        for tar in map(SpeechTar, args.data):
            # The first stretch of all waits for the process that hears it to load.
            asyncio.run(hear(url, tar.read(tar.keys(1)[0]), parse_settings(args.settings)[0]))
            with_it = asyncio.run(hear_all(url, tar, args))
            without = [] if args.fast else asyncio.run(hear_all(url, tar, args, refine=False))
            found.append(figures(tar.name, with_it, without))
            console.print("  ".join(row(found[-1])))
    run = {"settings": args.settings, "sessions": args.sessions, "threads": args.threads, "model": args.model}
    write_report(args.json, {"sets": found}, run)
    table = markdown_table(headings, [row(one) for one in found], left=1)
    console.print(table)
    if args.markdown:
        facts = ", ".join(f"{name} {value}" for name, value in run.items())
        section = "refine" if args.fast else "refine-delay"
        replace_section(args.markdown, section, f"{table}\nRun with {facts}.\n{this_machine()}\n")


if __name__ == "__main__":
    main()
