"""LocalAgreement-2, the streaming policy of whisper_streaming, over any transcriber of whole recordings.

The audio since the last cut is transcribed again at every step; what the last two transcripts begin with in common
is committed. Written after Macháček, Dabre and Bojar, "Turning Whisper into Real-Time Transcription System" (arXiv
2307.14743) and the published program's defaults (ufal/whisper_streaming): steps of one second, the audio cut at
the end of a committed segment once it is longer than 15 s, the last 200 characters before the cut as the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np

from benchmarks.faster_whisper_model import Transcribe
from benchmarks.speech_tars import SAMPLE_RATE
from voicewire.asr.events import Word

STEP_S = 1.0
CUT_S = 15.0
PROMPT_CHARACTERS = 200
_SLACK_S = 0.1  # by how much a word's start may move between two transcripts
_NEAR_S = 1.0  # a transcript that begins so near to what was committed may repeat it ...
_REPEATED_WORDS = 5  # ... with so many words at most


@dataclass(slots=True)
class Agreement:
    """What two transcripts in a row agree on; times on the stream's clock.

    Attributes:
        committed: words said for good, in order.
        pending: the last transcript's words behind them.
    """

    committed: list[Word] = field(default_factory=list)
    pending: list[Word] = field(default_factory=list)

    @property
    def committed_s(self) -> float:
        """The end of the last committed word."""
        return self.committed[-1].end_s if self.committed else 0.0

    def take(self, transcript: Sequence[Word]) -> list[Word]:
        """The words that the next transcript commits."""
        fresh = self._behind([word for word in transcript if word.start_s > self.committed_s - _SLACK_S])
        pairs = takewhile(lambda pair: pair[0].text == pair[1].text, zip(fresh, self.pending, strict=False))
        agreed = [word for word, _ in pairs]
        self.committed += agreed
        self.pending = fresh[len(agreed) :]
        return agreed

    def finish(self) -> list[Word]:
        """Commits what is left: nothing more will come."""
        rest, self.pending = self.pending, []
        self.committed += rest
        return rest

    def _behind(self, words: list[Word]) -> list[Word]:
        """Without a beginning that repeats the end of what was committed."""
        if not words or abs(words[0].start_s - self.committed_s) >= _NEAR_S:
            return words
        texts, said = [word.text for word in words], [word.text for word in self.committed]
        for count in range(1, min(len(texts), len(said), _REPEATED_WORDS) + 1):
            if said[-count:] == texts[:count]:
                return words[count:]
        return words


class LocalAgreement:
    """One stream. `step_s` is how much new audio a step waits for."""

    step_s = STEP_S

    def __init__(self, transcribe: Transcribe) -> None:
        self._transcribe = transcribe
        self._audio = np.zeros(0, np.float32)
        self._start_s = 0.0
        self._agreement = Agreement()

    def hear(self, samples: np.ndarray) -> list[Word]:
        """Takes new audio, float32 of shape (samples,) at 16 kHz; gives the words that it commits."""
        self._audio = np.concatenate([self._audio, samples])
        passages = self._transcribe(self._audio, self._prompt())
        agreed = self._agreement.take([self._shift(word) for one in passages for word in one.words])
        if len(self._audio) > CUT_S * SAMPLE_RATE:
            self._cut([one.end_s + self._start_s for one in passages])
        return agreed

    def finish(self) -> list[Word]:
        return self._agreement.finish()

    def _prompt(self) -> str:
        """The end of the text whose audio is gone; whole words."""
        gone = "".join(word.text for word in self._agreement.committed if word.end_s <= self._start_s)
        return gone if len(gone) <= PROMPT_CHARACTERS else gone[-PROMPT_CHARACTERS:].partition(" ")[2]

    def _shift(self, word: Word) -> Word:
        return replace(word, start_s=word.start_s + self._start_s, end_s=word.end_s + self._start_s)

    def _cut(self, ends_s: Sequence[float]) -> None:
        """Drops the audio of the segments that are committed; the last segment may still be going on."""
        done = [end_s for end_s in ends_s[:-1] if end_s <= self._agreement.committed_s]
        if done:
            self._audio = self._audio[round((done[-1] - self._start_s) * SAMPLE_RATE) :]
            self._start_s = done[-1]
