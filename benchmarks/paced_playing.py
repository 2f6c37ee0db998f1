"""Any streaming recogniser played to at the pace of speech, with its computing on the clock.

The clock is a reckoned one: it waits for audio as a microphone would and goes on by the processor time of each
step. So a recogniser that needs longer than its audio lasts falls behind, as it would, and waiting costs nothing.
Other work beside it shows less than on the wall's clock, but it shows: cores that share a cache slow each other.
"""

import json
import time
from dataclasses import astuple, dataclass
from typing import Protocol

import numpy as np

from benchmarks.speech_tars import SAMPLE_RATE
from voicewire.asr.events import Transcript, Word
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber


class Recogniser(Protocol):
    """One stream; `step_s` is how much new audio a step waits for."""

    step_s: float

    def hear(self, samples: np.ndarray) -> list[Word]:
        """Takes new audio, float32 of shape (samples,) at 16 kHz; gives the words that it commits."""
        ...

    def finish(self) -> list[Word]:
        """Commits what is left."""
        ...


class VoicewireStream:
    """voicewire as such a recogniser, in pieces of 20 ms."""

    step_s = 0.02

    def __init__(self, transcriber: BatchTranscriber, settings: StreamSettings) -> None:
        self._transcriber = transcriber
        self._slot = transcriber.open(settings)

    def hear(self, samples: np.ndarray) -> list[Word]:
        self._transcriber.push(self._slot, samples)
        return self._run()

    def finish(self) -> list[Word]:
        self._transcriber.flush(self._slot)
        words = self._run()
        self._transcriber.close(self._slot)
        return words

    def _run(self) -> list[Word]:
        words: list[Word] = []
        while stepped := self._transcriber.step():
            for event in stepped.get(self._slot, []):
                if isinstance(event, Transcript):
                    words += event.words
        return words


@dataclass(frozen=True, slots=True)
class Played:
    """What one stream brought.

    Attributes:
        words: committed, in order.
        committed_s: when each was committed, on the reckoned clock.
        cpu_s: processor time in all.
        audio_s: the stream's length.
        behind_s: how far behind the audio the recogniser was at the worst, after a step.
    """

    words: tuple[Word, ...]
    committed_s: tuple[float, ...]
    cpu_s: float
    audio_s: float
    behind_s: float

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words).strip()

    def as_text(self) -> str:
        """One line of JSON, for the cache."""
        return json.dumps(astuple(self), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> "Played":
        """Reads what `as_text` wrote."""
        words, committed_s, *rest = json.loads(text)
        return cls(tuple(Word(*row) for row in words), tuple(committed_s), *rest)


def play_paced(recogniser: Recogniser, samples: np.ndarray, *, free: bool = False) -> Played:
    """One whole stream.

    Args:
        recogniser: fresh; it is finished afterwards.
        samples: float32 of shape (samples,), mono, 16 kHz.
        free: computing takes no time on the clock.
    """
    words: list[Word] = []
    committed_s: list[float] = []
    now_s = cpu_s = behind_s = 0.0
    heard, audio_s = 0, len(samples) / SAMPLE_RATE
    while heard < len(samples):
        now_s = max(now_s, min(heard / SAMPLE_RATE + recogniser.step_s, audio_s))
        come = min(round(now_s * SAMPLE_RATE), len(samples))
        began = time.process_time()
        news = recogniser.hear(samples[heard:come])
        cost_s = time.process_time() - began
        heard, cpu_s = come, cpu_s + cost_s
        now_s += 0.0 if free else cost_s
        behind_s = max(behind_s, now_s - heard / SAMPLE_RATE)
        words += news
        committed_s += [now_s] * len(news)
    began = time.process_time()
    rest = recogniser.finish()
    cost_s = time.process_time() - began
    now_s += 0.0 if free else cost_s
    committed_s += [now_s] * len(rest)
    return Played((*words, *rest), tuple(committed_s), cpu_s + cost_s, audio_s, behind_s)
