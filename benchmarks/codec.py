"""How good speech sounds through each codec at each of its rates, and through Opus, and how well it is understood.

    python -m benchmarks.codec --data TAR... --json OUT [--markdown docs/codec.md] [--limit N]

PESQ, STOI and ViSQOL compare with what was sent; DNSMOS and DistillMOS judge what is heard alone; the word error
rate is that of unmodified Whisper, against the corpus's text. Bitrates are those of the bare codes, and of Opus's
packets as they were counted. A run that was stopped goes on where it was: a score is found again by the samples
that it judged, beside OUT.
"""

import argparse
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.channels import ORIGINAL, Channel, Received, codec_channels, opus_channel
from benchmarks.codec_choice import add_codecs, named_codecs
from benchmarks.codec_outcome import ChannelOutcome, ClipOutcome, SetOutcome
from benchmarks.codec_report import CodecReport
from benchmarks.machine import this_machine
from benchmarks.options import add_limit, table_parser, wide_console
from benchmarks.recogniser import write_report
from benchmarks.spectrograms import draw_spectrograms
from benchmarks.speech_quality import METRICS, Score, load_metrics
from benchmarks.speech_tars import Clip, SpeechTar
from benchmarks.transcript_cache import TranscriptCache, TranscriptKey
from benchmarks.word_errors import count_errors
from voicewire.asr.offline import OfflineTranscriber
from voicewire.codecs import Codec

WORDS = "wer"


@dataclass(eq=False)
class CodecRun:
    """The channels and the instruments, and where scores are kept.

    Attributes:
        model: Whisper's, whose word errors are counted; None: nobody listens for words.
        listened: to how many clips of a tar it listens; None: to all.
    """

    channels: Sequence[Channel]
    scores: Mapping[str, Score]
    model: str | None
    cache: TranscriptCache
    listened: int | None = None

    def judge(self, tar: SpeechTar, limit: int | None, advance: Callable[[], None]) -> SetOutcome:
        """All channels on the clips that `limit` leaves; `advance` is called once per clip and channel."""
        rows: dict[Channel, list[ClipOutcome]] = {channel: [] for channel in self.channels}
        heard_by_whisper = set(tar.keys(self.listened)) if self.model else set()
        for clip in tar.clips(limit):
            for channel in self.channels:
                received = channel.send(clip.samples)
                rows[channel].append(self._clip(clip, received, words=clip.key in heard_by_whisper))
                advance()
        outcomes = (ChannelOutcome(channel.name, channel.kbps, tuple(rows[channel])) for channel in rows)
        return SetOutcome(tar.name, tuple(outcomes))

    def _clip(self, clip: Clip, received: Received, words: bool) -> ClipOutcome:
        # What was heard is the key, so that no change to a codec can pass by unnoticed.
        heard = hashlib.sha256(clip.samples.tobytes() + received.samples.tobytes()).hexdigest()[:16]

        def kept(judge: str, ask: Callable[[], object]) -> str:
            key = TranscriptKey(judge, heard, clip.tar, clip.key)
            if (known := self.cache.get(key)) is None:
                known = str(ask())
                self.cache.add(key, known)
            return known

        scores = {
            name: float(
                kept(METRICS[name].version, lambda score=score: score(clip.samples, received.samples))
            )
            for name, score in self.scores.items()
        }
        errors = None
        if words:
            judge = f"{self.model} {version('openai-whisper')}"
            text = kept(judge, lambda: self._whisper.transcribe(received.samples, words=False).text)
            errors = count_errors(clip.text, text)
        return ClipOutcome(clip.key, clip.duration, received.bits, scores, errors)

    @cached_property
    def _whisper(self) -> OfflineTranscriber:
        assert self.model
        return OfflineTranscriber.load(self.model, device="cpu")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = table_parser("codec", __doc__)
    parser.add_argument(
        "--section", default="codec", help="where there: between its marks; default %(default)s"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw spectrograms of the first clip")
    add_limit(parser)
    add_codecs(parser)
    parser.add_argument("--opus", type=float, nargs="*", default=[6, 9, 12], metavar="KBPS")
    names = [*METRICS, WORDS]
    parser.add_argument("--metrics", nargs="+", choices=names, default=names)
    parser.add_argument("--model", default="base", help="the Whisper that listens; default %(default)s")
    parser.add_argument(
        "--words-limit",
        type=int,
        metavar="N",
        help="it listens to N of the clips of each tar; it takes longest",
    )
    parser.add_argument("--threads", type=int, default=1, help="of the arithmetic; default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    torch.set_num_threads(args.threads)
    console = wide_console()
    found, left_out = named_codecs(args)
    scores, missing = load_metrics([name for name in args.metrics if name != WORDS])
    left_out |= {METRICS[name].label: why for name, why in missing.items()}
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}", style="bold red", markup=False)
    channels = [ORIGINAL, *(one for codec in found for one in codec_channels(codec))]
    channels += [opus_channel(kbps) for kbps in args.opus]
    cache = TranscriptCache(args.json.with_suffix(".scores.jsonl"))
    model = args.model if WORDS in args.metrics else None
    run = CodecRun(channels, scores, model, cache, args.words_limit)
    tars = [SpeechTar(path) for path in args.data]
    report = CodecReport(
        sets=judge_all(run, tars, args.limit, console),
        metrics=tuple(scores),
        machine=this_machine(),
        run=_run_facts(args, found, scores),
        left_out=left_out,
    )
    cache.close()
    report.print(console)
    write_report(args.json, report.as_json(), report.run)
    if args.markdown:
        report.write_markdown(args.markdown, args.section)
    if args.plot:
        clip = next(tars[0].clips(1))
        draw_spectrograms({str(one): one.send(clip.samples).samples for one in channels}, args.plot)


def judge_all(
    run: CodecRun, tars: Sequence[SpeechTar], limit: int | None, console: Console
) -> list[SetOutcome]:
    """Every tar, under a progress bar."""
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        outcomes = []
        for tar in tars:
            task = progress.add_task(tar.name, total=len(tar.keys(limit)) * len(run.channels))
            outcomes.append(run.judge(tar, limit, lambda task=task: progress.advance(task)))
        return outcomes


def _run_facts(
    args: argparse.Namespace, found: Sequence[Codec], metrics: Iterable[str]
) -> dict[str, str | int | None]:
    """What stands beside every figure of the run."""
    weights = {f"{codec.name}'s weights": codec.weights_sha256[:12] for codec in found}
    versions = (METRICS[name].version for name in metrics)
    return {
        **weights,
        "listener": f"Whisper {args.model}" if WORDS in args.metrics else None,
        "metrics": "; ".join(versions),
        "limit": args.limit,
        "words limit": args.words_limit,
    }


if __name__ == "__main__":
    main()
