"""A recogniser in a process of its own, so that several need not take turns at Python's interpreter lock.

Two threads of one process that run a BatchTranscriber each do 1.5 times the work of one, two processes do twice as
much. This side imports no torch; worker.py is the other one.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.child import Child
from voicewire.asr.effort import Effort
from voicewire.asr.events import Event
from voicewire.asr.identity import Identity
from voicewire.asr.samples import own_samples
from voicewire.asr.settings import FRAME_SAMPLES, StreamSettings


class Call(NamedTuple):
    """A method of BatchTranscriber that the worker is to call, and with what."""

    method: str
    given: tuple[Any, ...]


class Asked(NamedTuple):
    """What goes to the worker: calls whose results nobody waits for, and one whose result is answered."""

    before: list[Call]
    call: Call


class Facts(NamedTuple):
    """What a worker says of the recogniser that it has loaded."""

    model_name: str
    identity: Identity
    capacity: int
    state_bytes_per_slot: int


class Stepped(NamedTuple):
    """What a worker answers to a step: as BatchTranscriber's, and how it stands then."""

    events: dict[int, list[Event]]
    backlogs: dict[int, int]
    stage_seconds: dict[str, float]


class RemoteTranscriber:
    """A BatchTranscriber in another process: the same methods, of which one thread at a time may make use.

    What may be asked of it raises what BatchTranscriber raises, and RecogniserLostError once the process is gone.

    Attributes:
        model_name, identity, capacity, state_bytes_per_slot, stage_seconds: as BatchTranscriber's.
    """

    def __init__(self, child: Child, facts: Facts) -> None:
        self._child = child
        self._facts = facts
        self._unsent: list[Call] = []
        self._backlogs: dict[int, int] = {}
        self.stage_seconds: dict[str, float] = {}

    @classmethod
    def load(
        cls,
        model: str = "base",
        *,
        slots: int = 8,
        adapter: str = "default",
        device: str = "auto",
        precision: str = "auto",
        threads: int = 1,
    ) -> "RemoteTranscriber":
        """As `BatchTranscriber.load`, in a new process. Raises what that raises."""
        child = Child("voicewire.asr.worker", threads=threads)
        loading = {
            "slots": slots,
            "adapter": str(adapter),
            "device": device,
            "precision": precision,
            "threads": threads,
        }
        return cls(child, child.ask(Asked([], Call("load", (model, loading)))))

    @property
    def model_name(self) -> str:
        return self._facts.model_name

    @property
    def identity(self) -> Identity:
        return self._facts.identity

    @property
    def capacity(self) -> int:
        return self._facts.capacity

    @property
    def state_bytes_per_slot(self) -> int:
        return self._facts.state_bytes_per_slot

    # ---- streams

    def open(self, settings: StreamSettings) -> int:
        slot: int = self._ask("open", settings)
        self._backlogs[slot] = 0
        return slot

    def push(self, slot: int, samples: NDArray[np.float32]) -> None:
        samples = own_samples(samples)
        self._tell("push", slot, samples)
        self._backlogs[slot] += len(samples)

    def push_features(
        self, slot: int, features: NDArray[np.float32], voice: NDArray[np.float32] | None = None
    ) -> None:
        self._ask("push_features", slot, features, voice)
        self._backlogs[slot] += len(features) * FRAME_SAMPLES

    def flush(self, slot: int, tag: str | None = None) -> None:
        self._tell("flush", slot, tag)

    def configure(self, slot: int, settings: StreamSettings) -> None:
        self._ask("configure", slot, settings)

    def set_effort(self, slot: int, effort: Effort) -> None:
        self._tell("set_effort", slot, effort)

    def backlog_samples(self, slot: int) -> int:
        return self._backlogs[slot]

    def close(self, slot: int) -> None:
        self._ask("close", slot)
        del self._backlogs[slot]

    def snapshot(self, slot: int) -> bytes:
        state: bytes = self._ask("snapshot", slot)
        return state

    def restore(self, data: bytes) -> int:
        slot: int = self._ask("restore", data)
        self._backlogs[slot] = 0
        return slot

    def step(self) -> dict[int, list[Event]]:
        stepped: Stepped = self._ask("step")
        self._backlogs |= stepped.backlogs
        self.stage_seconds = stepped.stage_seconds
        return stepped.events

    # ---- the way there and back

    def _tell(self, method: str, *given: Any) -> None:
        """To be called before the next thing that is asked."""
        self._unsent.append(Call(method, given))

    def _ask(self, method: str, *given: Any) -> Any:
        unsent, self._unsent = self._unsent, []
        return self._child.ask(Asked(unsent, Call(method, given)))
