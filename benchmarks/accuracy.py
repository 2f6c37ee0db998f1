"""Word error rates: offline Whisper, and the stream at each pair of chunk and commit sizes, on the same clips.

    python -m benchmarks.accuracy --data TAR... [--settings CHUNK:COMMIT,...] [--limit N] --json OUT

A run that was stopped goes on where it was: transcripts are kept beside OUT as they are made.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmarks.accuracy_report import AccuracyReport, Outcome, SetOutcome, Utterance
from benchmarks.batch import Job, transcribe_jobs
from benchmarks.machine import this_machine
from benchmarks.options import benchmark_parser, parse_settings, wide_console
from benchmarks.speech_tars import REPOSITORY, SpeechTar
from benchmarks.transcript_cache import TranscriptCache, TranscriptKey, fingerprint
from benchmarks.word_errors import count_errors
from voicewire.asr.offline import OfflineTranscriber
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

DEFAULT_SETTINGS = "300:1200,200:600,300:300"


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyRun:
    """The clips of `tars` that `limit` leaves, and where their transcripts are kept."""

    tars: Sequence[SpeechTar]
    limit: int | None
    cache: TranscriptCache
    progress: Progress

    def offline(self, model: str, device: str, threads: int | None) -> Sequence[Outcome]:
        """One outcome per tar: unmodified full-context Whisper."""
        recogniser = fingerprint(model, files=[REPOSITORY / "asr" / "offline.py"])
        keys = self._keys(recogniser, "offline")
        missing = self._missing(keys)
        task = self.progress.add_task("offline", total=len(keys), completed=len(keys) - len(missing))
        if missing:
            whisper = OfflineTranscriber.load(model, device=device, threads=threads)
            for key in missing:
                clip = self._tar(key).read(key.clip)
                self.cache.add(key, whisper.transcribe(clip.samples, words=False).text)
                self.progress.advance(task)
        return self._outcomes(keys, None)

    def streaming(
        self, transcriber: BatchTranscriber, recogniser: str, settings: StreamSettings
    ) -> Sequence[Outcome]:
        """One outcome per tar: the committed words of each clip as a stream of its own that is flushed."""
        name = f"{settings.chunk_ms}:{settings.commit_ms}"
        keys = self._keys(recogniser, name)
        missing = self._missing(keys)
        task = self.progress.add_task(f"stream {name}", total=len(keys), completed=len(keys) - len(missing))
        jobs = (Job(settings, partial(self._tar(key).read, key.clip), key) for key in missing)
        for job, _, words in transcribe_jobs(transcriber, jobs):
            assert isinstance(job.tag, TranscriptKey)
            self.cache.add(job.tag, "".join(word.text for word in words).strip())
            self.progress.advance(task)
        return self._outcomes(keys, settings)

    def _keys(self, recogniser: str, setting: str) -> list[TranscriptKey]:
        return [
            TranscriptKey(recogniser, setting, tar.name, key)
            for tar in self.tars
            for key in tar.keys(self.limit)
        ]

    def _missing(self, keys: Sequence[TranscriptKey]) -> list[TranscriptKey]:
        return [key for key in keys if self.cache.get(key) is None]

    def _tar(self, key: TranscriptKey) -> SpeechTar:
        return next(tar for tar in self.tars if tar.name == key.tar)

    def _outcomes(self, keys: Sequence[TranscriptKey], settings: StreamSettings | None) -> list[Outcome]:
        return [
            Outcome(settings, tuple(self._utterance(tar, key) for key in keys if key.tar == tar.name))
            for tar in self.tars
        ]

    def _utterance(self, tar: SpeechTar, key: TranscriptKey) -> Utterance:
        reference, duration_s = tar.reference(key.clip)
        hypothesis = self.cache.get(key) or ""
        return Utterance(
            key.clip, duration_s / 60, reference, hypothesis, count_errors(reference, hypothesis)
        )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("accuracy", __doc__, DEFAULT_SETTINGS, threads=None)
    parser.add_argument("--limit", type=int, help="so many clips of each tar, always the same ones")
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="show the N worst transcripts of each"
    )
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--slots", type=int, default=8, help="streams that run as one batch")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    settings = parse_settings(args.settings, args.beam)
    console = wide_console()
    transcriber = BatchTranscriber.load(
        args.model,
        slots=args.slots,
        adapter=args.adapter,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        widest_beam=args.beam,
    )
    # Anything that could change a transcript: the recogniser's source, its adapter, its arithmetic.
    source = [
        path for path in (REPOSITORY / "asr").rglob("*") if path.suffix in (".py", ".json", ".safetensors")
    ]
    recogniser = fingerprint(args.model, args.adapter, transcriber.precision.name, args.beam, files=source)
    cache = TranscriptCache(args.json.with_suffix(".transcripts.jsonl"))
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        run = AccuracyRun([SpeechTar(path) for path in args.data], args.limit, cache, progress)
        streaming = [run.streaming(transcriber, recogniser, one) for one in settings]
        offline = run.offline(args.model, args.device, args.threads)
    cache.close()
    report = AccuracyReport(
        sets=tuple(
            SetOutcome(tar.name, offline[at], tuple(outcomes[at] for outcomes in streaming))
            for at, tar in enumerate(run.tars)
        ),
        machine=this_machine(),
        run={
            "model": args.model,
            "adapter": args.adapter,
            "precision": transcriber.precision.name,
            "beam": args.beam,
            "limit": args.limit,
        },
    )
    report.print(console)
    if args.worst:
        report.print_worst(console, args.worst)
    args.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    if args.markdown:
        report.write_markdown(args.markdown)


if __name__ == "__main__":
    main()
