"""Recognisers side by side: the streams of one machine dealt out to threads that share one model in memory.

The products of a few streams are too small for several threads to share each of them: two threads on one batch
are hardly faster than one. Two batches, each on a thread of its own, keep two cores busy.
"""

import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.effort import Effort
from voicewire.asr.errors import CapacityError
from voicewire.asr.events import Event
from voicewire.asr.identity import Identity
from voicewire.asr.settings import StreamSettings

Made = TypeVar("Made")


class Team:
    """Several BatchTranscribers as one: the same methods, with slots numbered through. Not thread-safe itself.

    A stream belongs to one member for good, so that it is decoded as by a BatchTranscriber alone.

    Args:
        first: the member that the others are made after.
        count: members in all.
    """

    def __init__(self, first: BatchTranscriber, count: int) -> None:
        self.members = [first, *(first.sibling() for _ in range(count - 1))]
        # One pool each, so that a member always runs on the same thread.
        self._threads = [
            ThreadPoolExecutor(1, "voicewire-recogniser", partial(torch.set_num_threads, 1))
            for _ in self.members
        ]

    @classmethod
    def load(
        cls,
        model: str = "base",
        *,
        slots: int = 8,
        adapter: str | Path = "default",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> "Team":
        """As `BatchTranscriber.load`, with a member for each thread; `slots` in all, or a few more where they do
        not divide by the members. None is as many threads as torch would use. On a GPU there is one member.
        """
        count = min(threads or torch.get_num_threads(), slots)
        first = BatchTranscriber.load(
            model,
            slots=math.ceil(slots / count),
            adapter=adapter,
            device=device,
            precision=precision,
            threads=1,
        )
        return cls(first, count)

    def resized(self, slots: int) -> "Team":
        """A team of as many members over the same model, with room for so many streams, and without any."""
        count = min(len(self.members), slots)
        return Team(self.members[0].sibling(math.ceil(slots / count)), count)

    @property
    def model_name(self) -> str:
        return self.members[0].model_name

    @property
    def identity(self) -> Identity:
        return self.members[0].identity

    @property
    def capacity(self) -> int:
        return sum(member.capacity for member in self.members)

    @property
    def free_slots(self) -> int:
        return sum(member.free_slots for member in self.members)

    @property
    def state_bytes_per_slot(self) -> int:
        return self.members[0].state_bytes_per_slot

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Time spent so far by stage, of all members together."""
        return dict(sum((Counter(member.stage_seconds) for member in self.members), Counter()))

    def open(self, settings: StreamSettings) -> int:
        """Begins a stream with the member that has most room."""
        index = self._roomiest()
        return self._slot(index, self.members[index].open(settings))

    def push(self, slot: int, samples: NDArray[np.float32]) -> None:
        member, own = self._member(slot)
        member.push(own, samples)

    def push_features(
        self, slot: int, features: NDArray[np.float32], voice: NDArray[np.float32] | None = None
    ) -> None:
        member, own = self._member(slot)
        member.push_features(own, features, voice)

    def flush(self, slot: int, tag: str | None = None) -> None:
        member, own = self._member(slot)
        member.flush(own, tag)

    def configure(self, slot: int, settings: StreamSettings) -> None:
        member, own = self._member(slot)
        member.configure(own, settings)

    def set_effort(self, slot: int, effort: Effort) -> None:
        member, own = self._member(slot)
        member.set_effort(own, effort)

    def backlog_samples(self, slot: int) -> int:
        member, own = self._member(slot)
        return member.backlog_samples(own)

    def close(self, slot: int) -> None:
        member, own = self._member(slot)
        member.close(own)

    def snapshot(self, slot: int) -> bytes:
        member, own = self._member(slot)
        return member.snapshot(own)

    def restore(self, data: bytes) -> int:
        index = self._roomiest()
        return self._slot(index, self.members[index].restore(data))

    def step(self) -> dict[int, list[Event]]:
        """One tick for every stream that has one, the members at the same time."""
        stepped = self._at_once(lambda member: member.step())
        return {
            self._slot(index, own): events
            for index, of_member in enumerate(stepped)
            for own, events in of_member.items()
        }

    def _at_once(self, do: Callable[[BatchTranscriber], Made]) -> list[Made]:
        """Runs it for every member on its thread. All have ended when one's error is raised."""
        tasks = [
            thread.submit(do, member) for thread, member in zip(self._threads, self.members, strict=True)
        ]
        errors = [error for task in tasks if (error := task.exception())]
        if errors:
            raise errors[0]
        return [task.result() for task in tasks]

    def _roomiest(self) -> int:
        index = max(range(len(self.members)), key=lambda at: self.members[at].free_slots)
        if not self.members[index].free_slots:
            raise CapacityError(
                f"all {self.capacity} slots are taken: close a stream, or load with more slots"
            )
        return index

    def _slot(self, index: int, own: int) -> int:
        return index + own * len(self.members)

    def _member(self, slot: int) -> tuple[BatchTranscriber, int]:
        own, index = divmod(slot, len(self.members))
        return self.members[index], own
