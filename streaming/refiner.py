"""The one thread that has sessions' speech heard once more, as time allows.

A process of the lowest priority does the computing (asr/remote_pass.py), so that live words never wait for it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from voicewire.asr.events import Word
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.stretch import Stretch
from voicewire.streaming.commands import Command, Refine, Refined
from voicewire.streaming.logs import get_logger
from voicewire.streaming.seat import Seat, deliver
from voicewire.streaming.settings import ServerSettings

log = get_logger(__name__)

# Audio that may wait, of all sessions together: at the pace of a slow machine, more than can be done in time.
MOST_WAITING_S = 300.0
# After so many failures in a row nothing is tried any more.
_MOST_FAULTS = 3


class Listener(Protocol):
    """Hears stretches of speech; SecondPass and RemotePass are some."""

    @property
    def room(self) -> int: ...
    def hear(self, stretches: Sequence[Stretch]) -> list[tuple[Word, ...]]: ...


class _Job(NamedTuple):
    seat: Seat
    number: int
    stretch: Stretch
    came: float


class Refiner:
    """A desk like the recogniser's and the codecs', but a patient one.

    Args:
        load: makes what hears; called in its thread when the first stretch comes.
        wait_s: what has waited longer is left out.
    """

    def __init__(self, load: Callable[[], Listener], wait_s: float) -> None:
        self._load = load
        self._wait_s = wait_s
        self._wake = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._stopping = False
        self._listener: Listener | None = None
        self._faults = 0
        self._thread: threading.Thread | None = None

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> "Refiner":
        """One with unmodified Whisper of the settings' model."""

        def load() -> Listener:
            from voicewire.asr.remote_pass import RemotePass

            return RemotePass(settings.model, device=settings.device, precision=settings.precision)

        return cls(load, settings.refine_s)

    # ---- for any thread

    def submit(self, seat: Seat, command: Command) -> None:
        """Queues a stretch, and leaves the oldest out where too many wait; `Seat.send` is the way to it."""
        assert isinstance(command, Refine)
        left_out: list[_Job] = []
        with self._wake:
            self._jobs.append(_Job(seat, command.number, command.stretch, time.monotonic()))
            while sum(len(job.stretch.samples) for job in self._jobs) > MOST_WAITING_S * SAMPLE_RATE:
                left_out.append(self._jobs.popleft())
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="voicewire-refiner", daemon=True)
                self._thread.start()
            self._wake.notify()
        _leave_out(left_out)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread after its present batch; what waits is left to its sessions to give up."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # ---- its thread

    def _run(self) -> None:
        while (jobs := self._next_jobs()) is not None:
            try:
                if self._listener is None:
                    self._listener = self._load()
                heard = self._listener.hear([job.stretch for job in jobs])
            except Exception:
                log.exception("second_pass_failed", stretches=len(jobs))
                self._listener = None
                self._faults += 1
                _leave_out(jobs)
            else:
                self._faults = 0
                deliver(
                    (job.seat, Refined(job.number, words)) for job, words in zip(jobs, heard, strict=True)
                )
        self._listener = None

    def _next_jobs(self) -> list[_Job] | None:
        """The oldest that are still wanted, as many as are heard at once; None where all is over."""
        while True:
            with self._wake:
                while not self._jobs and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    return None
                count = self._listener.room if self._listener else 1
                jobs = [self._jobs.popleft() for _ in range(min(count, len(self._jobs)))]
            oldest = time.monotonic() - self._wait_s
            late = [job for job in jobs if job.came < oldest or self._faults >= _MOST_FAULTS]
            _leave_out(late)
            if wanted := [job for job in jobs if job not in late and not job.seat.over]:
                return wanted


def _leave_out(jobs: Sequence[_Job]) -> None:
    deliver((job.seat, Refined(job.number, None)) for job in jobs)
