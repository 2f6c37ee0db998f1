"""What the engine needs of a recogniser: the part of BatchTranscriber that it uses; and how it has them loaded."""

import math
import os
from collections.abc import Callable, Mapping
from ctypes.util import find_library
from typing import Protocol, TypedDict

import numpy as np

from voicewire.asr.effort import Effort
from voicewire.asr.events import Event, Flushed
from voicewire.asr.identity import Identity
from voicewire.asr.settings import SAMPLE_RATE, StreamSettings
from voicewire.streaming.decoding import Samples
from voicewire.streaming.settings import ServerSettings

# Room in which to find out how many sessions a recogniser carries.
_MEASURED_SLOTS, _MEASURED_SLOTS_GPU = 64, 512
_WARM_UP_S = 2.0
_WARM_UP_STEPS = 1000


class Recogniser(Protocol):
    """Many streams in slots; one thread owns it. BatchTranscriber's docstrings say what each method does."""

    @property
    def model_name(self) -> str: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def capacity(self) -> int: ...
    @property
    def state_bytes_per_slot(self) -> int: ...
    @property
    def stage_seconds(self) -> Mapping[str, float]: ...
    def open(self, settings: StreamSettings) -> int: ...
    def push(self, slot: int, samples: Samples) -> None: ...
    def push_features(self, slot: int, features: Samples, voice: Samples) -> None: ...
    def flush(self, slot: int, tag: str | None = None) -> None: ...
    def configure(self, slot: int, settings: StreamSettings) -> None: ...
    def set_effort(self, slot: int, effort: Effort) -> None: ...
    def backlog_samples(self, slot: int) -> int: ...
    def step(self) -> dict[int, list[Event]]: ...
    def close(self, slot: int) -> None: ...
    def snapshot(self, slot: int) -> bytes: ...
    def restore(self, data: bytes) -> int: ...


# Called in the engine's thread, at its start and after a fault that the recogniser did not survive.
Loader = Callable[[], Recogniser]


# Called once with a recogniser that is warm: how many sessions it is to have at one time.
Measure = Callable[[Recogniser], int]


def room_of(recogniser: Recogniser) -> int:
    """As many as there are slots."""
    return recogniser.capacity


class _Share(TypedDict):
    """What every recogniser is loaded with."""

    slots: int
    adapter: str
    device: str
    precision: str
    threads: int


def count_recognisers(settings: ServerSettings) -> int:
    """One on a GPU; on processors one for each core, since the products of a few streams are too small for several
    threads to share them (asr/remote.py)."""
    if settings.device == "cuda" or (settings.device == "auto" and _has_gpu()):
        return 1
    return min(settings.threads or _cores(), settings.most_sessions)


def loader(settings: ServerSettings) -> Loader:
    """Loads a real recogniser, with its share of the sessions: in this process, or where there are several, in one
    of its own."""
    count = count_recognisers(settings)
    share: _Share = {
        "slots": _slots(settings, count),
        "adapter": settings.adapter,
        "device": settings.device,
        "precision": settings.precision,
        "threads": 1,
    }

    def load() -> Recogniser:
        # Not before they are needed: the former imports torch.
        if count == 1:
            from voicewire.asr.batch import BatchTranscriber

            return BatchTranscriber.load(settings.model, **share)
        from voicewire.asr.remote import RemoteTranscriber

        return RemoteTranscriber.load(settings.model, **share)

    return load


def _slots(settings: ServerSettings, count: int) -> int:
    """Of one of so many recognisers; where its sessions are measured, more than it should have."""
    if settings.max_sessions == "auto":
        return _MEASURED_SLOTS_GPU if count == 1 and _has_gpu() else _MEASURED_SLOTS
    return math.ceil(settings.max_sessions / count)


def _cores() -> int:
    """Those that this process may use, or fewer where the environment says so to all that compute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


def _has_gpu() -> bool:
    if find_library("cuda") is None:
        return False  # without a driver torch need not be imported to ask
    import torch

    return torch.cuda.is_available()


def warm_up(recogniser: Recogniser) -> None:
    """Runs every stage once, so that the first session does not pay for what is made at first use."""
    noise = np.random.default_rng(0).normal(0, 0.05, round(_WARM_UP_S * SAMPLE_RATE)).astype(np.float32)
    slot = recogniser.open(StreamSettings(gate=False))
    try:
        recogniser.push(slot, noise)
        recogniser.flush(slot)
        for _ in range(_WARM_UP_STEPS):
            if any(isinstance(event, Flushed) for event in recogniser.step().get(slot, [])):
                return
        raise RuntimeError("the recogniser did not answer a flush while it was warmed up")
    finally:
        recogniser.close(slot)
