"""How loud a stream was, frame by frame: a word that follows a pause begins where its sound does, not where the
decoder's attention leaves the word before.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.settings import FRAME_S, FRAME_SAMPLES

ONSET_DB = 23.0  # below a word's loudest frame its sound has not begun; chosen on dev-00
SILENCE = 1e-6


def _nothing() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass
class Loudness:
    """Levels of one stream's frames since `start`.

    Attributes:
        levels: in dB of full scale, one per whole frame; shape = (frames,)
        rest: samples that do not make a frame yet.
        start: the number of the first frame, counted from the session's start.
    """

    levels: NDArray[np.float32] = field(default_factory=_nothing)
    rest: NDArray[np.float32] = field(default_factory=_nothing)
    start: int = 0

    def push(self, samples: NDArray[np.float32]) -> None:
        waiting = np.concatenate([self.rest, samples])
        whole = len(waiting) // FRAME_SAMPLES
        frames = waiting[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES)
        power = (frames * frames).mean(1)
        self.levels = np.concatenate([self.levels, 10 * np.log10(power + SILENCE**2)])
        self.rest = waiting[whole * FRAME_SAMPLES :]

    def forget(self, before: int) -> None:
        """Drops frames before number `before`."""
        count = min(max(before - self.start, 0), len(self.levels))
        self.levels = self.levels[count:]
        self.start += count

    def onset(self, start_s: float, end_s: float) -> float:
        """Where between the two the sound begins."""
        first = round(start_s / FRAME_S) - self.start
        frames = self.levels[max(first, 0) : round(end_s / FRAME_S) - self.start]
        if first < 0 or len(frames) == 0:
            return start_s
        quiet = int(np.argmax(frames >= frames.max() - ONSET_DB))
        return start_s + quiet * FRAME_S
