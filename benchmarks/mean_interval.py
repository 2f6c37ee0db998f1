"""Means of scores over clips, and of differences between scores of the same clips, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.word_errors import RESAMPLES


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean and the middle 95 % of its bootstrap over clips."""

    mean: float
    low: float
    high: float


def mean_interval(scores: Sequence[float]) -> Mean:
    """Raises ValueError where there are no scores."""
    if not scores:
        raise ValueError("a mean needs scores")
    values = np.asarray(scores, np.float64)
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return Mean(float(values.mean()), float(low), float(high))


def mean_difference(scores: Sequence[float], base: Sequence[float]) -> Mean:
    """Of `scores` minus `base`, clip by clip: the pairing takes out what both find hard. Raises ValueError."""
    return mean_interval([one - other for one, other in zip(scores, base, strict=True)])
