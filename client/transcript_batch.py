"""Recordings transcribed several at a time: progress for each and for all, what failed, what was there already."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console

from voicewire.client.audio_files import open_audio
from voicewire.client.batch_progress import BatchProgress
from voicewire.client.errors import ClientError
from voicewire.client.local import RATES, Heard, LocalTranscriber
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
        duration_s, language, words: of its transcript, where it is done; `words` is how many.
        took_s: from its beginning to its end, beside the others that were under way.
        error: why it failed.
    """

    recording: Recording
    status: Status
    duration_s: float = 0.0
    language: str = ""
    words: int = 0
    took_s: float = 0.0
    error: str | None = None


Finished = Callable[[Recording, TimedTranscript], None]
"""Takes a transcript as soon as it is there. May raise ClientError."""


class TranscriptBatch:
    """Runs a transcriber over recordings.

    Args:
        at_once: how many recordings are read side by side.
        finished: called by the threads that read, several at a time.
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
        pool = ThreadPoolExecutor(self._at_once, "voicewire-recording")
        tasks = [pool.submit(self._transcribe, recording) for recording in self._recordings]
        told: set[Future[Outcome]] = set()
        try:
            with self._progress:
                for task in as_completed(tasks):
                    told.add(task)
                    if error := task.result().error:
                        self._progress.tell(f"passed over: {error}")
        except KeyboardInterrupt:
            self._transcriber.kill()
        finally:
            pool.shutdown(cancel_futures=True)
        return [
            task.result() if task in told or _done(task) else Outcome(recording, Status.STOPPED)
            for recording, task in zip(self._recordings, tasks, strict=True)
        ]

    def _transcribe(self, recording: Recording) -> Outcome:
        with self._progress.bar(recording.name, self._durations[recording]) as heard:
            return transcribed(recording, self._transcriber, self._finished, self._track, heard)


def transcribed(
    recording: Recording,
    transcriber: LocalTranscriber,
    finished: Finished,
    track: int | None = None,
    heard: Heard = lambda _: None,
) -> Outcome:
    """What comes of one recording; `track` is as in TranscriptBatch."""
    began = time.monotonic()
    try:
        with open_audio(recording.path, rates=RATES, track=track) as audio:
            transcript = transcriber.transcribe(audio, heard)
        took_s = time.monotonic() - began
        finished(recording, transcript)
    except ClientError as error:
        return Outcome(recording, Status.FAILED, error=str(error))
    words = len(transcript.words)
    return Outcome(recording, Status.DONE, transcript.duration_s, transcript.language, words, took_s)


def _done(task: "Future[Outcome]") -> bool:
    """Whether it came to a transcript; others fail because they are stopped."""
    return not task.cancelled() and task.result().status is Status.DONE
