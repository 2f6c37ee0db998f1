"""Recordings transcribed several at a time: progress for each and for all, what failed, what was there already."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console

from voicewire.client.audio_files import open_audio
from voicewire.client.batch_progress import BatchProgress
from voicewire.client.errors import ClientError
from voicewire.client.local import RATES, LocalTranscriber
from voicewire.client.recordings import Recording
from voicewire.streaming.subtitles.transcripts import TimedTranscript


class Status(StrEnum):
    """What came of a recording."""

    DONE = "done"
    SKIPPED = "was there"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recording, and what came of it.

    Attributes:
        transcript: None unless it is done.
        took_s: from its beginning to its end, beside the others that were under way.
        error: why it failed.
    """

    recording: Recording
    status: Status
    transcript: TimedTranscript | None = None
    took_s: float = 0.0
    error: str | None = None


Finished = Callable[[Recording, TimedTranscript], None]
"""Takes a transcript as soon as it is there. May raise ClientError."""


class TranscriptBatch:
    """Runs a transcriber over recordings.

    Args:
        at_once: how many recordings are read side by side.
        finished: called by the thread of `run`, one recording after the other, as they are done.
        track: which audio track of each; None is the first.
        quiet: no progress bars. Failures are told all the same.
    """

    def __init__(
        self,
        transcriber: LocalTranscriber,
        recordings: Sequence[Recording],
        finished: Finished,
        console: Console,
        *,
        at_once: int = 1,
        track: int | None = None,
        quiet: bool = False,
    ) -> None:
        self._transcriber = transcriber
        self._recordings = recordings
        self._finished = finished
        self._at_once = at_once
        self._track = track
        self._durations = {recording: recording.duration_s(track) for recording in recordings}
        self._progress = BatchProgress(console, list(self._durations.values()), quiet=quiet)

    def run(self) -> list[Outcome]:
        """An outcome for each recording, in order. After KeyboardInterrupt the rest are stopped."""
        outcomes: dict[int, Outcome] = {}
        pool = ThreadPoolExecutor(self._at_once, "voicewire-recording")
        tasks = {pool.submit(self._transcribe, one): at for at, one in enumerate(self._recordings)}
        try:
            with self._progress:
                for task in as_completed(tasks):
                    outcome = self._kept(task.result())
                    outcomes[tasks[task]] = outcome
                    if outcome.error:
                        self._progress.tell(f"passed over: {outcome.error}")
        except KeyboardInterrupt:
            self._transcriber.kill()
        finally:
            pool.shutdown(cancel_futures=True)
        return [outcomes.get(at, Outcome(one, Status.STOPPED)) for at, one in enumerate(self._recordings)]

    def _transcribe(self, recording: Recording) -> Outcome:
        began = time.monotonic()
        with self._progress.bar(recording.name, self._durations[recording]) as heard:
            try:
                with open_audio(recording.path, rates=RATES, track=self._track) as audio:
                    transcript = self._transcriber.transcribe(audio, heard)
            except ClientError as error:
                return Outcome(recording, Status.FAILED, error=str(error))
        return Outcome(recording, Status.DONE, transcript, time.monotonic() - began)

    def _kept(self, outcome: Outcome) -> Outcome:
        """Hands a transcript on. What cannot be written has failed."""
        if outcome.transcript is None:
            return outcome
        try:
            self._finished(outcome.recording, outcome.transcript)
        except ClientError as error:
            return Outcome(outcome.recording, Status.FAILED, error=str(error))
        return outcome
