"""A recording of any length cut into passages for Whisper: at pauses, a few minutes each, long silences left out.

Memory is that of one passage, however long the recording. A passage knows where its audio came from, so that its
words have the times of the recording.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.gate import SpeechGate, VoiceActivity, VoiceState
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.voice_activity import CHUNK_S, CHUNK_SAMPLES

Samples = NDArray[np.float32]

# A passage ends in the first pause after so much audio: four windows of Whisper's.
WANTED_S = 120.0
# Where there is no pause, at the least likely speech of its last quarter.
LONGEST_S = 180.0
_LAST_S = 45.0
# A silence of this length is left out, but for its margins beside the speech.
LONG_SILENCE_S = 2.0
MARGIN_S = 0.5
# How far back the gate may find, in a silence, that speech began.
_LOOK_BACK_S = 2.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a passage that lies in one piece in the recording; times in seconds.

    Attributes:
        at_s: where it begins in the passage.
        start_s, end_s: where it lies in the recording.
    """

    at_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class PassageClock:
    """From the times of a passage to those of the recording.

    Attributes:
        pieces: what the passage is made of, in order; at least one.
    """

    pieces: tuple[Piece, ...]

    def span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Start and end in the recording of what lies between the two in the passage.

        A word is never spread over a silence that was left out: it belongs where its middle is.
        """
        middle_s = (start_s + end_s) / 2
        piece = next((one for one in reversed(self.pieces) if one.at_s <= middle_s), self.pieces[0])
        shift_s = piece.start_s - piece.at_s
        first_s, last_s = (min(max(time + shift_s, piece.start_s), piece.end_s) for time in (start_s, end_s))
        return round(first_s, 3), round(last_s, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """Audio to be transcribed at once.

    Attributes:
        samples: (any number,), mono float32 at 16 kHz.
        clock: where they come from.
        until_s: up to where in the recording nothing is left to be transcribed once this is.
    """

    samples: Samples
    clock: PassageClock
    until_s: float

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


class Passages:
    """Cuts one recording, or one channel of it, as it comes.

    Args:
        voice: the model that hears speech; one serves any number of recordings.
        skip_silence: False leaves nothing out, and only cuts.
    """

    def __init__(self, voice: VoiceActivity, *, skip_silence: bool = True) -> None:
        self._voice = voice
        self._skip_silence = skip_silence
        self._state = VoiceState()
        self._gate = SpeechGate()
        self._audio = _Audio()
        self._recent: deque[float] = deque(maxlen=round(_LAST_S / CHUNK_S))
        self._pieces: list[tuple[int, Samples]] = []  # that are whole: where each begins, and its audio
        self._open: int | None = None if skip_silence else 0  # where the present piece begins

    def push(self, samples: Samples) -> list[Passage]:
        """The passages that are whole.

        Args:
            samples: (any number,), mono float32 at 16 kHz. Raises AudioError where they are something else.
        """
        probabilities = self._voice.push(self._state, samples)
        self._audio.push(samples)
        passages = []
        for probability in probabilities.tolist():
            self._recent.append(probability)
            started = self._gate.advance(np.array([probability]))
            if self._open is None:
                if started:
                    self._open = max(round((started[0] - MARGIN_S) * SAMPLE_RATE), self._audio.start)
                continue
            passages += self._listen(self._gate.chunks * CHUNK_SAMPLES)
        if self._open is None:
            self._audio.forget(self._audio.end - round(_LOOK_BACK_S * SAMPLE_RATE))
        return passages

    def flush(self) -> list[Passage]:
        """What is left, at the end of the recording."""
        if self._open is not None:
            end = self._audio.end
            if self._skip_silence and not self._gate.speaking:
                end = min(end, self._speech_end())
            self._close(end)
            self._open = None
        return self._whole(self._audio.end)

    def _listen(self, now: int) -> list[Passage]:
        """After one more chunk of a piece: does the piece, or the passage, end?"""
        assert self._open is not None
        if self._skip_silence and self._gate.pause_s >= LONG_SILENCE_S:
            self._close(self._speech_end())
            self._open = None
            return []
        length = sum(len(samples) for _, samples in self._pieces) + now - self._open
        if length >= WANTED_S * SAMPLE_RATE and not self._gate.speaking:
            return self._cut(now)
        if length >= LONGEST_S * SAMPLE_RATE:
            behind = len(self._recent) - int(np.argmin(self._recent))
            return self._cut(max(now - behind * CHUNK_SAMPLES + CHUNK_SAMPLES // 2, self._open))
        return []

    def _cut(self, at: int) -> list[Passage]:
        """Ends the passage at a sample and begins the next one there."""
        self._close(at)
        self._open = at
        return self._whole(at)

    def _close(self, end: int) -> None:
        """Ends the present piece; one in which nobody spoke is dropped."""
        assert self._open is not None
        heard_s = (self._gate.heard_s if self._gate.speaking else self._gate.ended_s) or 0.0
        if end > self._open and (not self._skip_silence or heard_s * SAMPLE_RATE > self._open):
            self._pieces.append((self._open, self._audio.between(self._open, end)))
        self._audio.forget(end)

    def _whole(self, until: int) -> list[Passage]:
        """The pieces so far as a passage, if there are any."""
        if not self._pieces:
            return []
        pieces, at = [], 0
        for start, samples in self._pieces:
            end = start + len(samples)
            pieces.append(Piece(at / SAMPLE_RATE, start / SAMPLE_RATE, end / SAMPLE_RATE))
            at += len(samples)
        audio = np.concatenate([samples for _, samples in self._pieces])
        self._pieces = []
        return [Passage(audio, PassageClock(tuple(pieces)), until / SAMPLE_RATE)]

    def _speech_end(self) -> int:
        return round(((self._gate.ended_s or 0.0) + MARGIN_S) * SAMPLE_RATE)


class _Audio:
    """The end of a recording, by the numbers of its samples.

    Attributes:
        start, end: the first sample that is held, and the one after the last.
    """

    def __init__(self) -> None:
        self.start = self.end = 0
        self._blocks: deque[Samples] = deque()

    def push(self, samples: Samples) -> None:
        self._blocks.append(samples)
        self.end += len(samples)

    def between(self, first: int, last: int) -> Samples:
        """A copy. Both lie within what is held."""
        held = np.concatenate(self._blocks)
        return held[first - self.start : last - self.start].copy()

    def forget(self, before: int) -> None:
        """Drops whole blocks before a sample."""
        while self._blocks and self.start + len(self._blocks[0]) <= before:
            self.start += len(self._blocks.popleft())
