"""Processes that hold Whisper, one each, and transcribe what they are given."""

import itertools
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from voicewire.client.errors import CommandError
from voicewire.client.local import Heard, ModelChoice, server_packages

if TYPE_CHECKING:
    from voicewire.asr.offline import OfflineTranscriber, Task, Transcription

# Passages that lie ready for each worker, so that none idles and memory stays small.
_AHEAD = 2


class Workers:
    """A pool of Whispers. Its methods may be called from any thread.

    Processes, since a decoder's step of one recording is too small to share among threads, and openai-whisper
    draws its lots from the process's own generator. `python -m benchmarks.folder` compares the two.

    Args:
        choice: the model; its `threads` are those of each worker.
        count: how many processes. 0 is a thread of this one, for programs that cannot be started twice.
    """

    def __init__(self, choice: ModelChoice, count: int) -> None:
        self.count = max(count, 1)
        self._tickets = itertools.count()
        self._heard: dict[int, Heard] = {}
        self._room = threading.Semaphore(self.count + _AHEAD)
        self._killed = False
        self._news: Any
        self._pool: Executor
        if count:
            context = multiprocessing.get_context("spawn")
            self._news, self._here = context.SimpleQueue(), None
            self._pool = ProcessPoolExecutor(count, context, _begin, (choice, self._news))
        else:
            self._news = queue.SimpleQueue()
            self._pool, self._here = ThreadPoolExecutor(1, "voicewire-whisper"), _Whisper(choice, self._news)
        threading.Thread(target=self._listen, name="voicewire-progress", daemon=True).start()

    def load(self, language: str | None, task: "Task") -> None:
        """Loads the first worker's model. Raises CommandError: there is none, or it does not know the language."""
        self._result(self._submit("load", language, task))

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
        ticket = next(self._tickets)
        self._heard[ticket] = heard
        try:
            future = self._submit("transcribe", ticket, samples, language, task)
        except BaseException:
            self._done(ticket)
            raise
        future.add_done_callback(lambda _: self._done(ticket))
        return lambda: self._result(future)

    def close(self) -> None:
        """Ends the workers, after what they are at."""
        self._pool.shutdown(cancel_futures=True)
        if not self._killed:  # a process that was killed may have held the pipe's lock
            self._news.put(None)

    def kill(self) -> None:
        """Ends the processes at once; whoever waits for words gets CommandError."""
        self._killed = True
        for process in multiprocessing.active_children():
            process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, method: str, *arguments: object) -> "Future[Any]":
        with _ended():
            if self._here is not None:
                return self._pool.submit(getattr(self._here, method), *arguments)
            return self._pool.submit(_do, method, *arguments)

    def _done(self, ticket: int) -> None:
        del self._heard[ticket]
        self._room.release()

    def _listen(self) -> None:
        while (news := self._news.get()) is not None:
            ticket, seconds = news
            if heard := self._heard.get(ticket):
                heard(seconds)

    def _result(self, future: "Future[Any]") -> Any:
        with server_packages(), _ended():
            return future.result()


@contextmanager
def _ended() -> Iterator[None]:
    """Says what it means that a pool is broken or shut."""
    try:
        yield
    except (BrokenExecutor, CancelledError) as error:
        raise CommandError(
            "a worker ended unexpectedly, perhaps for want of memory: try fewer by --workers; "
            "what is done stays, and the same command goes on from there"
        ) from error


class _Whisper:
    """The model of one worker, loaded when it is first needed."""

    def __init__(self, choice: ModelChoice, news: Any) -> None:
        self._choice = choice
        self._news = news

    @cached_property
    def _model(self) -> "OfflineTranscriber":
        from voicewire.asr.offline import OfflineTranscriber

        choice = self._choice
        return OfflineTranscriber.load(choice.model, choice.device, choice.threads)

    def load(self, language: str | None, task: "Task") -> None:
        self._model.check(language, task)

    def transcribe(
        self, ticket: int, samples: np.ndarray, language: str | None, task: "Task"
    ) -> "Transcription":
        duration_s, told_s = len(samples) / 16_000, 0.0

        def progress(done_s: float) -> None:
            nonlocal told_s
            more_s = min(done_s, duration_s) - told_s
            told_s += more_s
            self._news.put((ticket, more_s))

        return self._model.transcribe(samples, language, progress, task=task)


_whisper: _Whisper | None = None  # of this process, where it is a worker


def _begin(choice: ModelChoice, news: Any) -> None:
    global _whisper
    # Ctrl-C reaches every process of the terminal; whoever started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _whisper = _Whisper(choice, news)


def _do(method: str, *arguments: object) -> Any:
    return getattr(_whisper, method)(*arguments)
