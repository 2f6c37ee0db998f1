"""What one session has with a codec: audio on its way to tokens, tokens on their way to audio.

A lane holds what waits, in order, and says what is due; the desk takes that from all lanes and runs it in batches.
What is said of the audio (flushes, settings) waits behind the audio that it was said after.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic

import numpy as np

from voicewire.asr.resampler import Resampler
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.codecs.codec import CodecBatch, Given, Made
from voicewire.codecs.tokens import Tokens, joined
from voicewire.streaming.commands import ConfigureStream, Encoded, FlushStream, PushAudio, TokenSettings
from voicewire.streaming.decoding import Samples

Marker = FlushStream | ConfigureStream
Heard = Callable[[PushAudio | Marker], None]

# A lane takes part in a turn with so much at most: who sends a file at once is not to hold up the others.
_MOST_S = 1.0


class Lane(ABC, Generic[Given, Made]):
    """One session's stream in a batch. It takes a slot at once; CodecError where none is free."""

    def __init__(self, batch: CodecBatch[Given, Made], codebooks: int | None = None) -> None:
        self.batch = batch
        self.slot = batch.open(codebooks)
        self._queue: deque[Given | Marker] = deque()

    def put(self, item: Given | Marker) -> None:
        """Appends what is to go through the codec, or what is said of the audio."""
        self._queue.append(item)

    @abstractmethod
    def take(self) -> Given | None:
        """What is to go through the codec now; None where nothing is due."""

    @abstractmethod
    def made(self, made: Made) -> None:
        """Takes what became of it."""

    @abstractmethod
    def obey(self, marker: Marker) -> None:
        """Does what was said of the audio taken so far."""

    def obey_due(self) -> bool:
        """Obeys every marker that has nothing before it; whether there was one."""
        due = False
        while self._queue and isinstance(marker := self._queue[0], Marker):
            self._queue.popleft()
            self.obey(marker)
            due = True
        return due

    def close(self) -> None:
        """Gives the slot back."""
        self.batch.close(self.slot)

    def _run(self, item: Given) -> None:
        """Something small that must not wait for a batch."""
        self.made(self.batch.push({self.slot: item})[self.slot])

    def _end(self) -> None:
        self.made(self.batch.flush([self.slot])[self.slot])


class EncoderLane(Lane[Samples, Tokens]):
    """Audio at 16 kHz on its way to tokens, a tick's worth at a time.

    Args:
        batch: the codec's encoders.
        sample_rate: the codec's.
        settings: what is to be made.
    """

    def __init__(self, batch: CodecBatch[Samples, Tokens], sample_rate: int, settings: TokenSettings) -> None:
        super().__init__(batch, settings.codebooks)
        self._tick_samples = settings.tick_ms * SAMPLE_RATE // 1000
        self._resampler = Resampler(SAMPLE_RATE, sample_rate)
        self._waiting_samples = 0
        self._markers = 0
        self._taken_samples = 0
        self._told_samples = 0
        self._made: list[Tokens] = []
        self._answered: list[str] = []

    def put(self, item: Samples | Marker) -> None:
        super().put(item)
        if isinstance(item, Marker):
            self._markers += 1
        else:
            self._waiting_samples += len(item)

    def take(self) -> Samples | None:
        if not self._markers and self._waiting_samples < self._tick_samples:
            return None
        pieces: list[Samples] = []
        taken = 0
        while self._queue and taken < _MOST_S * SAMPLE_RATE:
            if isinstance(item := self._queue[0], Marker):
                break
            self._queue.popleft()
            pieces.append(item)
            taken += len(item)
        if not pieces:
            return None
        self._waiting_samples -= taken
        self._taken_samples += taken
        return self._resampler.push(np.concatenate(pieces))

    def made(self, made: Tokens) -> None:
        if made.frames:
            self._made.append(made)

    def obey(self, marker: Marker) -> None:
        self._markers -= 1
        if isinstance(marker, ConfigureStream):
            assert marker.tokens is not None
            self._tick_samples = marker.tokens.tick_ms * SAMPLE_RATE // 1000
            self.batch.use(self.slot, marker.tokens.codebooks)
            return
        if marker.ends:
            self._run(self._resampler.flush())
            self._end()
        self._answered.append(marker.tag)

    def report(self) -> Encoded | None:
        """What is new since the last report."""
        if self._taken_samples == self._told_samples and not self._answered:
            return None
        report = Encoded(tuple(self._made), self._taken_samples, tuple(self._answered))
        self._made, self._answered, self._told_samples = [], [], self._taken_samples
        return report


class DecoderLane(Lane[Tokens, Samples]):
    """Tokens on their way to audio at 16 kHz, as soon as they come.

    Args:
        batch: the decoders of the tokens' codec.
        sample_rate: the codec's.
        heard: takes the audio, and behind it what was said of it.
    """

    def __init__(self, batch: CodecBatch[Tokens, Samples], sample_rate: int, heard: Heard) -> None:
        super().__init__(batch)
        self._heard = heard
        self._resampler = Resampler(sample_rate, SAMPLE_RATE)

    def take(self) -> Tokens | None:
        pieces: list[Tokens] = []
        frames = 0
        while self._queue and not isinstance(following := self._queue[0], Marker):
            frames += following.frames
            if pieces and not (_follows(pieces[-1], following) and frames <= _MOST_S * following.frame_rate):
                break
            self._queue.popleft()
            pieces.append(following)
        return joined(pieces) if pieces else None

    def made(self, made: Samples) -> None:
        self._give(self._resampler.push(made))

    def obey(self, marker: Marker) -> None:
        if isinstance(marker, FlushStream):
            if marker.ends:
                self._end()
            self._give(self._resampler.flush())
        self._heard(marker)

    def _give(self, samples: Samples) -> None:
        if len(samples):
            self._heard(PushAudio(samples))


def _follows(before: Tokens, tokens: Tokens) -> bool:
    """Whether two stretches may be given to a decoder as one."""
    return (
        tokens.codebooks == before.codebooks
        and tokens.first_frame == before.first_frame + before.frames
        and before.samples == before.frames * before.frame_samples
    )
