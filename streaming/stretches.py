"""One session's audio cut into the stretches in which its words were said, to be heard once more; sans I/O.

Every committed word is in one stretch. A stretch ends with its utterance, at a flush, or between two words before
it is longer than Whisper hears at once.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from voicewire.asr.events import Endpoint, Event, Flushed, Transcript, Word
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.streaming.decoding import Samples

# Words of a longer stretch are cut; what is kept beside them must still fit in Whisper's 30 s.
LONGEST_S = 28.0
# A long stretch is cut at the widest gap between words of its last seconds.
_GAP_WITHIN_S = 10.0
BEFORE_S, BEHIND_S = 0.3, 0.5  # of the audio beside the words
# Before a word is committed its audio is kept so long.
_KEPT_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Words that were committed, and their audio.

    Attributes:
        words: at least one.
        utterance: that they belong to.
        samples: mono float32 at 16 kHz, shape (samples,).
        start_s: where these begin on the session's clock.
    """

    words: tuple[Word, ...]
    utterance: int
    samples: Samples
    start_s: float


class Stretches:
    """Takes audio and the recogniser's events, in the order in which they come."""

    def __init__(self) -> None:
        self._blocks: deque[Samples] = deque()
        self._start = self._end = 0  # of what is kept, in samples
        self._from_s = 0.0
        self._words: list[Word] = []
        self._utterance = 0

    @property
    def kept_s(self) -> float:
        """Seconds of audio that are kept."""
        return (self._end - self._start) / SAMPLE_RATE

    def hear(self, samples: Samples) -> None:
        """Takes the next audio."""
        self._end += len(samples)
        self._blocks.append(samples)

    def skip(self, samples: int) -> None:
        """So much audio is not kept: its words, and those before it that wait for an end, are in no stretch."""
        self._end += samples
        self._blocks.clear()
        self._words.clear()
        self._start = self._end
        self._from_s = self._end / SAMPLE_RATE

    def follow(self, event: Event) -> Iterator[Said]:
        """The stretches that are whole with this event."""
        if isinstance(event, Transcript):
            self._utterance = event.utterance
            for word in event.words:
                if self._words and word.end_s - self._words[0].start_s > LONGEST_S:
                    yield from self._cut(self._widest_gap())
                if word.start_s >= self._from_s:
                    self._words.append(word)
            if not self._words:
                self._forget(event.processed_s - _KEPT_S)
        elif isinstance(event, Endpoint | Flushed):
            yield from self._cut(len(self._words))

    def _widest_gap(self) -> int:
        """Before which word a long stretch is cut."""
        late = [
            at
            for at in range(1, len(self._words))
            if self._words[at].start_s > self._words[-1].end_s - _GAP_WITHIN_S
        ]
        gaps = {at: self._words[at].start_s - self._words[at - 1].end_s for at in late}
        return max(gaps, key=lambda at: (gaps[at], at), default=len(self._words))

    def _cut(self, count: int) -> Iterator[Said]:
        """A stretch of the first `count` words; punctuation that came late is none."""
        words, self._words = self._words[:count], self._words[count:]
        if not words:
            return
        end_s = max(word.end_s for word in words)
        until_s = end_s + BEHIND_S
        if self._words:
            until_s = min(until_s, (end_s + max(end_s, self._words[0].start_s)) / 2)
        first = max(self._start, round((words[0].start_s - BEFORE_S) * SAMPLE_RATE))
        last = max(first, min(self._end, round(until_s * SAMPLE_RATE)))
        samples = self._between(first, last)
        self._forget(end_s)
        if any(character.isalnum() for word in words for character in word.text):
            yield Said(tuple(words), self._utterance, samples, first / SAMPLE_RATE)

    def _between(self, first: int, last: int) -> Samples:
        if not self._blocks:
            return np.zeros(0, np.float32)
        return np.concatenate(self._blocks)[first - self._start : last - self._start]

    def _forget(self, before_s: float) -> None:
        """Drops whole blocks before a time."""
        while self._blocks and self._start + len(self._blocks[0]) <= before_s * SAMPLE_RATE:
            self._start += len(self._blocks.popleft())
