"""Word error rates: offline Whisper, and the stream at each pair of chunk and commit sizes, on the same clips.

    python -m benchmarks.accuracy --data TAR... [--settings CHUNK:COMMIT,...] [--limit N] --json OUT

For each stream also: errors of the interim text 0.6 s after each word (interim_errors.py says exactly how), the
share of the tail's words that were taken back (stability.py), and full stops, commas and capitals beside offline
Whisper's (marks.py). Of a tar without speech the second half of the clips counts, by insertions per minute. Words
without known times are aligned once, by offline Whisper. A run that was stopped goes on where it was: transcripts
are kept beside OUT as they are made.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

from benchmarks.accuracy_outcome import Outcome, SetOutcome, Utterance
from benchmarks.accuracy_report import AccuracyReport
from benchmarks.batch import Job, transcribe_jobs
from benchmarks.interim_errors import interim_errors, timed_tokens
from benchmarks.machine import this_machine
from benchmarks.marks import count_marks
from benchmarks.options import add_limit, benchmark_parser, parse_settings, wide_console
from benchmarks.recogniser import load_recogniser, recogniser_fingerprint, run_facts
from benchmarks.reference_times import ReferenceTimes
from benchmarks.speech_tars import REPOSITORY, SpeechTar
from benchmarks.stability import stability
from benchmarks.trace import Trace
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
    times: ReferenceTimes
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
        return self._outcomes([self._spoken(key, self.cache.get(key) or "") for key in keys], keys, None)

    def streaming(
        self,
        transcriber: BatchTranscriber,
        recogniser: str,
        settings: StreamSettings,
        offline: Sequence[Outcome],
    ) -> Sequence[Outcome]:
        """One outcome per tar: each clip a stream of its own that is flushed; `offline` is of the same clips."""
        name = f"{settings.chunk_ms}:{settings.commit_ms}"
        keys = self._keys(recogniser, f"trace {name}")
        missing = self._missing(keys)
        task = self.progress.add_task(f"stream {name}", total=len(keys), completed=len(keys) - len(missing))
        jobs = (Job(settings, partial(self._tar(key).read, key.clip), key) for key in missing)
        for job, _, trace in transcribe_jobs(transcriber, jobs):
            assert isinstance(job.tag, TranscriptKey)
            self.cache.add(job.tag, trace.as_text())
            self.progress.advance(task)
        measures = [one.hypothesis for outcome in offline for one in outcome.utterances]
        judging = self.progress.add_task(f"judge {name}", total=len(keys))
        utterances = []
        for key, measure in zip(keys, measures, strict=True):
            utterances.append(self._judged(key, Trace.from_text(self.cache.get(key) or ""), measure))
            self.progress.advance(judging)
        return self._outcomes(utterances, keys, settings)

    def _keys(self, recogniser: str, setting: str) -> list[TranscriptKey]:
        return [
            TranscriptKey(recogniser, setting, tar.name, key)
            for tar in self.tars
            for key in tar.held_out_keys(self.limit)
        ]

    def _missing(self, keys: Sequence[TranscriptKey]) -> list[TranscriptKey]:
        return [key for key in keys if self.cache.get(key) is None]

    def _tar(self, key: TranscriptKey) -> SpeechTar:
        return next(tar for tar in self.tars if tar.name == key.tar)

    def _outcomes(
        self, utterances: Sequence[Utterance], keys: Sequence[TranscriptKey], settings: StreamSettings | None
    ) -> list[Outcome]:
        pairs = list(zip(keys, utterances, strict=True))
        return [
            Outcome(settings, tuple(one for key, one in pairs if key.tar == tar.name)) for tar in self.tars
        ]

    def _spoken(self, key: TranscriptKey, hypothesis: str) -> Utterance:
        reference, duration_s = self._tar(key).reference(key.clip)
        errors = count_errors(reference, hypothesis)
        return Utterance(key.clip, duration_s / 60, reference, hypothesis, errors)

    def _judged(self, key: TranscriptKey, trace: Trace, measure: str) -> Utterance:
        words = self.times.words(self._tar(key), key.clip)
        return replace(
            self._spoken(key, trace.text),
            interim=interim_errors(timed_tokens(words), trace),
            stability=stability(trace),
            marks=count_marks(measure, trace.text),
        )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser("accuracy", __doc__, DEFAULT_SETTINGS, threads=None)
    add_limit(parser)
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="show the N worst transcripts of each"
    )
    parser.add_argument("--beam", type=int, default=1, help="hypotheses of beam search; 1 is greedy")
    parser.add_argument("--slots", type=int, default=8, help="streams that run as one batch")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    settings = parse_settings(args.settings, args.beam)
    console = wide_console()
    transcriber = load_recogniser(args, slots=args.slots, widest_beam=args.beam)
    recogniser = recogniser_fingerprint(transcriber, args.beam)
    cache = TranscriptCache(args.json.with_suffix(".transcripts.jsonl"))
    columns = (TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        tars = [SpeechTar(path) for path in args.data]
        run = AccuracyRun(tars, args.limit, cache, ReferenceTimes(cache, args.model), progress)
        offline = run.offline(args.model, args.device, args.threads)
        streaming = [run.streaming(transcriber, recogniser, one, offline) for one in settings]
    cache.close()
    report = AccuracyReport(
        sets=tuple(
            SetOutcome(tar.name, offline[at], tuple(outcomes[at] for outcomes in streaming))
            for at, tar in enumerate(tars)
        ),
        machine=this_machine(),
        run=run_facts(transcriber, args) | {"beam": args.beam},
    )
    report.print(console)
    if args.worst:
        report.print_worst(console, args.worst)
    args.json.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    if args.markdown:
        report.write_markdown(args.markdown)


if __name__ == "__main__":
    main()
