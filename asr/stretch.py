"""A stretch of speech to be heard once more as a whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_S = 30.0  # what Whisper hears at once


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Audio, and what was made of it as it came.

    Attributes:
        samples: (any number,), mono float32 at 16 kHz; at most 30 s.
        start_s: where it begins on the session's clock.
        text: the words committed in it; they save work where they are right, and change nothing.
        language: that is spoken.
        keyterms: names and terms that are likely in it.
    """

    samples: NDArray[np.float32]
    start_s: float
    text: str = ""
    language: str = "en"
    keyterms: tuple[str, ...] = ()
