"""Ten minutes each of silence and of noise without speech give no words."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.speech_tars import Clip
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.events import Endpoint, Event, Transcript, Word
from voicewire.asr.settings import StreamSettings

RATE = 16_000
MINUTES = 10


@pytest.fixture(scope="module")
def batch() -> BatchTranscriber:
    return BatchTranscriber.load("base", slots=5)


def run(batch: BatchTranscriber, streams: list[np.ndarray]) -> list[Event]:
    slots = [batch.open(StreamSettings()) for _ in streams]
    for slot, samples in zip(slots, streams, strict=True):
        batch.push(slot, samples.astype(np.float32))
        batch.flush(slot)
    events = []
    while turn := batch.step():
        events += [event for news in turn.values() for event in news]
    for slot in slots:
        batch.close(slot)
    return events


def words_of(events: list[Event]) -> list[Word]:
    return [word for event in events if isinstance(event, Transcript) for word in event.words]


@pytest.mark.slow
def test_silence_says_nothing(batch: BatchTranscriber) -> None:
    """Digital silence, hiss, hum and a click a second, ten minutes in all; and they are not speech either."""
    length = MINUTES * 60 * RATE // 5
    rng, time_s = np.random.default_rng(3), np.arange(length) / RATE
    clicks = np.zeros(length)
    clicks[::RATE] = 0.5
    streams = [
        np.zeros(length),
        rng.normal(0, 3e-4, length),
        rng.normal(0, 1e-2, length),
        0.05 * np.sin(2 * np.pi * 50 * time_s),
        clicks,
    ]
    assert words_of(run(batch, streams)) == []


@pytest.mark.slow
def test_noise_says_nothing(batch: BatchTranscriber, clips: Callable[[str, int], list[Clip]]) -> None:
    """Dogs, babies, sneezes, rain, engines, kitchens and music, joined to streams."""
    noise = np.concatenate([clip.samples for clip in clips("noise-00", 110)])
    assert len(noise) >= MINUTES * 60 * RATE
    events = run(batch, np.array_split(noise, 5))
    assert words_of(events) == []
    assert not any(isinstance(event, Endpoint) for event in events)
