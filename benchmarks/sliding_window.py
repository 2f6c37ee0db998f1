"""Streaming as it is often improvised: the last seconds are transcribed again and again, older words are final."""

from dataclasses import replace

import numpy as np

from benchmarks.faster_whisper_model import Transcribe
from benchmarks.speech_tars import SAMPLE_RATE
from voicewire.asr.events import Word

STEP_S = 1.0


class SlidingWindow:
    """One stream.

    Args:
        transcribe: of whole recordings.
        window_s: how much audio it is given, the latest.
        settle_s: words that ended so long ago are final.
    """

    step_s = STEP_S

    def __init__(self, transcribe: Transcribe, window_s: float = 10.0, settle_s: float = 2.0) -> None:
        self._transcribe = transcribe
        self._samples = round(window_s * SAMPLE_RATE)
        self._settle_s = settle_s
        self._audio = np.zeros(0, np.float32)
        self._heard = 0
        self._final_s = 0.0
        self._pending: list[Word] = []

    def hear(self, samples: np.ndarray) -> list[Word]:
        """Takes new audio, float32 of shape (samples,) at 16 kHz; gives the words that became final."""
        self._heard += len(samples)
        self._audio = np.concatenate([self._audio, samples])[-self._samples :]
        now_s, start_s = self._heard / SAMPLE_RATE, (self._heard - len(self._audio)) / SAMPLE_RATE
        words = [
            replace(word, start_s=word.start_s + start_s, end_s=word.end_s + start_s)
            for one in self._transcribe(self._audio, "")
            for word in one.words
        ]
        # A word's times move a little between two transcripts: its middle says whether it was there before.
        words = [word for word in words if (word.start_s + word.end_s) / 2 > self._final_s]
        final = [word for word in words if word.end_s <= now_s - self._settle_s]
        self._pending = words[len(final) :]
        self._final_s = final[-1].end_s if final else self._final_s
        return final

    def finish(self) -> list[Word]:
        """What is left is final: nothing more will come."""
        rest, self._pending = self._pending, []
        return rest
