"""The few numbers that a pile of measurements is summed up in."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def percentiles(values: Sequence[float]) -> dict[str, Any]:
    """Median, 95th and 99th percentile and mean, in the values' own unit; None each where there are no values."""
    if not values:
        return {"median": None, "p95": None, "p99": None, "mean": None, "count": 0}
    median, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "median": round(float(median), 4),
        "p95": round(float(p95), 4),
        "p99": round(float(p99), 4),
        "mean": round(float(np.mean(values)), 4),
        "count": len(values),
    }


def absolute_errors(values: Sequence[float]) -> dict[str, Any]:
    """Of signed errors in seconds: mean and median of their size, and the mean that shows a bias, in ms."""
    if not values:
        return {"mean_ms": None, "median_ms": None, "bias_ms": None, "count": 0}
    errors = 1000 * np.asarray(values)
    return {
        "mean_ms": round(float(np.abs(errors).mean()), 1),
        "median_ms": round(float(np.median(np.abs(errors))), 1),
        "bias_ms": round(float(errors.mean()), 1),
        "count": len(values),
    }
