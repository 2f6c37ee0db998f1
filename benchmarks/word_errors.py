"""Word errors of transcripts against references, with bootstrap intervals over utterances.

Both sides go through Whisper's English normaliser first, as in Whisper's own paper; jiwer aligns them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import jiwer
import numpy as np

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class WordErrors:
    """What one transcript, or a set of them, got wrong."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per word of the reference; None where the reference has no words."""
        return self.errors / self.words if self.words else None

    def __add__(self, other: "WordErrors") -> "WordErrors":
        return WordErrors(
            self.words + other.words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the bootstrap."""

    low: float
    high: float


def normalise(text: str) -> str:
    """Whisper's English normaliser: lower case, no punctuation, numbers and spellings unified."""
    return _normaliser()(text)


def count_errors(reference: str, hypothesis: str) -> WordErrors:
    """Errors of one utterance, both sides normalised."""
    output = jiwer.process_words(normalise(reference), normalise(hypothesis))
    return WordErrors(
        words=output.hits + output.substitutions + output.deletions,
        substitutions=output.substitutions,
        deletions=output.deletions,
        insertions=output.insertions,
    )


def total(errors: Sequence[WordErrors]) -> WordErrors:
    """The sum over utterances."""
    return sum(errors, WordErrors(0, 0, 0, 0))


def rate_interval(errors: Sequence[WordErrors]) -> Interval | None:
    """95 % interval of the word error rate; None where there are no words."""
    return difference_interval(errors, None)


def difference_interval(errors: Sequence[WordErrors], base: Sequence[WordErrors] | None) -> Interval | None:
    """95 % interval of the rate of `errors` minus that of `base`, utterance by utterance the same clips.

    The pairing takes out what both find hard, so it is much narrower than the intervals of the two rates.
    """
    words = np.array([one.words for one in errors], dtype=np.float64)
    excess = np.array([one.errors for one in errors], dtype=np.float64)
    if base is not None:
        excess -= [one.errors for one in base]
    if not words.sum():
        return None
    draws = np.random.default_rng(0).integers(0, len(words), (RESAMPLES, len(words)))
    rates = excess[draws].sum(axis=1) / np.maximum(words[draws].sum(axis=1), 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Interval(float(low), float(high))


@cache
def _normaliser() -> Callable[[str], str]:
    # Imported here because whisper brings torch along, which scoring alone does not need.
    from whisper.normalizers import EnglishTextNormalizer

    return EnglishTextNormalizer()
