"""What the engine needs of a recogniser: the part of `voicewire.asr.team.Team` that it uses."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from voicewire.asr.effort import Effort
from voicewire.asr.events import Event, Flushed
from voicewire.asr.identity import Identity
from voicewire.asr.settings import SAMPLE_RATE, StreamSettings
from voicewire.streaming.decoding import Samples
from voicewire.streaming.settings import ServerSettings

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


# Called in the engine's thread, at its start and after a fault that the recogniser did not survive.
Loader = Callable[[], Recogniser]


def loader(settings: ServerSettings) -> Loader:
    """Loads the real recogniser, as the settings say."""

    def load() -> Recogniser:
        # Not before it is needed: this imports torch.
        from voicewire.asr.team import Team

        return Team.load(
            settings.model,
            slots=settings.max_sessions,
            adapter=settings.adapter,
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
        )

    return load


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
