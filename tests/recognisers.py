"""A recogniser that can be made to fail, to hang or to be slow: what the real one cannot be asked to do."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from voicewire.asr.effort import FULL, Effort
from voicewire.asr.errors import CapacityError, SettingsError
from voicewire.asr.events import Endpoint, Event, Flushed, Transcript, Word
from voicewire.asr.identity import Identity
from voicewire.asr.settings import SAMPLE_RATE, StreamSettings


@dataclass
class _Stream:
    settings: StreamSettings
    effort: Effort = FULL
    queue: deque[int | str | None] = field(default_factory=deque)
    samples: int = 0
    words: int = 0


class ScriptedRecogniser:
    """Says one word per second of audio, and does as it is told besides.

    Attributes:
        step_s: how long a step takes.
        break_steps: so many of the next steps raise.
        break_closes: whether closing a slot raises.
        gate: cleared, a step hangs until it is set again.
        steps: steps so far.
    """

    model_name = "scripted"
    identity = Identity("scripted", "none", "float32")
    state_bytes_per_slot = 1000

    def __init__(self, capacity: int = 4) -> None:
        self.capacity = capacity
        self.step_s = 0.0
        self.break_steps = 0
        self.break_closes = False
        self.gate = threading.Event()
        self.gate.set()
        self.steps = 0
        self.stage_seconds = {"decoder": 0.0}
        self.thread: threading.Thread | None = None
        self._streams: dict[int, _Stream] = {}

    @property
    def free_slots(self) -> int:
        return self.capacity - len(self._streams)

    def open(self, settings: StreamSettings) -> int:
        self._owned()
        if settings.language != "en":
            raise SettingsError(f"the scripted model does not speak {settings.language}")
        slot = next((slot for slot in range(self.capacity) if slot not in self._streams), None)
        if slot is None:
            raise CapacityError("every slot is taken")
        self._streams[slot] = _Stream(settings)
        return slot

    def push(self, slot: int, samples: np.ndarray) -> None:
        self._owned()
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        self._streams[slot].queue.append(len(samples))

    def flush(self, slot: int, tag: str | None = None) -> None:
        self._owned()
        self._streams[slot].queue.append(tag)

    def configure(self, slot: int, settings: StreamSettings) -> None:
        self._owned()
        self._streams[slot].settings = settings

    def set_effort(self, slot: int, effort: Effort) -> None:
        self._owned()
        self._streams[slot].effort = effort

    def backlog_samples(self, slot: int) -> int:
        return sum(item for item in self._streams[slot].queue if isinstance(item, int))

    def step(self) -> dict[int, list[Event]]:
        self._owned()
        self.steps += 1
        self.gate.wait()
        time.sleep(self.step_s)
        self.stage_seconds["decoder"] += self.step_s
        if self.break_steps and self._streams:
            self.break_steps -= 1
            raise RuntimeError("told to break")
        return {slot: events for slot, stream in self._streams.items() if (events := self._tick(stream))}

    def close(self, slot: int) -> None:
        self._owned()
        del self._streams[slot]
        if self.break_closes:
            self.break_closes = False
            raise RuntimeError("told to break")

    def _tick(self, stream: _Stream) -> list[Event]:
        """At most a second of audio, or one flush."""
        taken = 0
        while stream.queue and taken < SAMPLE_RATE:
            item = stream.queue.popleft()
            if isinstance(item, int):
                part = min(item, SAMPLE_RATE - taken)
                taken += part
                if item > part:
                    stream.queue.appendleft(item - part)
                continue
            stream.samples += taken
            return [*self._words(stream, whole=True), Flushed(item, stream.samples / SAMPLE_RATE)]
        stream.samples += taken
        return self._words(stream, whole=False)

    def _words(self, stream: _Stream, *, whole: bool) -> list[Event]:
        now = stream.samples / SAMPLE_RATE
        due = int(now)
        said = tuple(Word(f" w{n}", n, n + 1.0, 0.9, now) for n in range(stream.words, due))
        stream.words = due
        tail = () if whole or now == due else (Word(f" t{due}", due, now, 0.5, now),)
        events: list[Event] = [Transcript(said, tail, 0, now)] if said or tail else []
        return events

    def _owned(self) -> None:
        """The engine promises that one thread alone touches a recogniser."""
        self.thread = self.thread or threading.current_thread()
        assert self.thread is threading.current_thread()


__all__ = ["Endpoint", "ScriptedRecogniser"]
