"""What counts as samples of a stream."""

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.errors import AudioError


def own_samples(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of mono float32 samples, shape = (n,). Raises AudioError for anything else."""
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise AudioError(f"samples must be one row of float32, not {samples.ndim} of {samples.dtype}")
    if not np.isfinite(samples).all():
        raise AudioError("samples must be finite numbers")
    return samples.copy()
