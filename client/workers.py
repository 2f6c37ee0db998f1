"""Whispers side by side, in processes of their own, which transcribe what they are given."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from voicewire.client.errors import CommandError
from voicewire.client.local import Heard, ModelChoice, server_packages
from voicewire.client.whisper_worker import LocalWhisper

if TYPE_CHECKING:
    from voicewire.asr.child import Child
    from voicewire.asr.offline import Task, Transcription

# Passages that lie ready for each worker, so that none idles and memory stays small.
_AHEAD = 2
_ENDED = (
    "a worker ended unexpectedly, perhaps for want of memory: try fewer by --workers; "
    "what is done stays, and the same command goes on from there"
)

Made = TypeVar("Made")


class Workers:
    """A pool of Whispers. Its methods may be called from any thread.

    Processes, since a decoder's step of one recording is too small to share among threads, and openai-whisper
    draws its lots from the process's own generator. `python -m benchmarks.folder` compares the two.

    Args:
        choice: the model; its `threads` are those of each worker.
        count: how many processes. 0 is a thread of this one.
    """

    def __init__(self, choice: ModelChoice, count: int) -> None:
        self.count = max(count, 1)
        self._choice = choice
        self._apart = count > 0
        self._room = threading.Semaphore(self.count + _AHEAD)
        self._pool = ThreadPoolExecutor(self.count, "voicewire-whisper")
        self._own = threading.local()  # of each of the pool's threads: its Whisper
        self._processes: list[_RemoteWhisper] = []
        self._over = False

    def load(self, language: str | None, task: "Task") -> None:
        """Loads the first worker's model. Raises CommandError: there is none, or it does not know the language."""
        self._result(self._submit(lambda: self._whisper.load(language, task)))

    def transcribe(
        self, samples: np.ndarray, language: str | None, task: "Task", heard: Heard
    ) -> "Callable[[], Transcription]":
        """Hands over a passage, (samples,) float32 at 16 kHz, once few enough lie ready.

        Args:
            language: None has it detected.
            heard: told, by another thread, how many more seconds of the passage are done.

        Returns:
            What waits for the words. It raises CommandError.

        Raises:
            CommandError: the workers have ended.
        """
        self._room.acquire()
        try:
            future = self._submit(lambda: self._whisper.transcribe(samples, language, task, heard))
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return lambda: self._result(future)

    def close(self) -> None:
        """Ends the workers, after what they are at."""
        self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.child.end()

    def kill(self) -> None:
        """Ends the processes at once; whoever waits for words gets CommandError."""
        self._over = True
        for process in self._processes:
            process.child.process.kill()
        self.close()

    @property
    def _whisper(self) -> "LocalWhisper | _RemoteWhisper":
        """That of the present thread, made when it is first wanted."""
        if not hasattr(self._own, "whisper"):
            self._own.whisper = _RemoteWhisper(self._choice) if self._apart else LocalWhisper(self._choice)
            if self._apart:
                self._processes.append(self._own.whisper)
        whisper: LocalWhisper | _RemoteWhisper = self._own.whisper
        return whisper

    def _submit(self, do: Callable[[], Made]) -> "Future[Made]":
        if self._over:
            raise CommandError(_ENDED)
        try:
            return self._pool.submit(do)
        except RuntimeError as error:  # the pool is shut
            raise CommandError(_ENDED) from error

    def _result(self, future: "Future[Made]") -> Made:
        with server_packages():
            from voicewire.asr.errors import RecogniserLostError

            try:
                return future.result()
            except (RecogniserLostError, CancelledError) as error:
                self._over = True
                raise CommandError(_ENDED) from error


class _RemoteWhisper:
    """A LocalWhisper in a process of its own."""

    child: "Child"

    def __init__(self, choice: ModelChoice) -> None:
        from voicewire.asr.child import Child

        self.child = Child("voicewire.client.whisper_worker", threads=choice.threads)
        self.child.ask(choice)

    def load(self, language: str | None, task: "Task") -> None:
        self.child.ask(("load", {"language": language, "task": task}))

    def transcribe(
        self, samples: np.ndarray, language: str | None, task: "Task", heard: Heard
    ) -> "Transcription":
        given = {"samples": samples, "language": language, "task": task}
        words: Transcription = self.child.ask(("transcribe", given), heard)
        return words
