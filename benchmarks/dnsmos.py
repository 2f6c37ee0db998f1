"""DNSMOS P.835 (arXiv 2110.01763), from the network in the package `speechmos`.

The package's own code wants librosa, and a dozen packages with it, for a second network that is not used here.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.speech_tars import SAMPLE_RATE

WINDOW_SAMPLES = int(9.01 * SAMPLE_RATE)
# From the network's scale to that of listeners, the published fit for the overall opinion.
_TO_OPINION = np.poly1d([-0.06766283, 1.11546468, 0.04602535])


def load_dnsmos() -> Callable[[np.ndarray], float]:
    """The overall opinion, 1 to 5, of float32 of shape (samples,) at 16 kHz, as a function.

    Raises:
        ImportError: the package is not installed.
    """
    package = find_spec("speechmos")
    if package is None or not package.submodule_search_locations:
        raise ImportError("No module named 'speechmos'", name="speechmos")
    path = Path(package.submodule_search_locations[0]) / "dnsmos_models" / "sig_bak_ovr.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def opinion(samples: np.ndarray) -> float:
        [found] = network.run(None, {network.get_inputs()[0].name: windows(np.clip(samples, -1, 1))})
        return float(_TO_OPINION(found[:, 2]).mean())

    return opinion


def windows(samples: np.ndarray) -> np.ndarray:
    """The stretches that the network hears, of shape (windows, WINDOW_SAMPLES).

    As the published script means to: one a second, the last of them left out, and short speech doubled until it
    is long enough.
    """
    samples = samples.astype(np.float32, copy=False)
    while len(samples) < WINDOW_SAMPLES:
        samples = np.concatenate([samples, samples])
    whole_seconds = len(samples) // SAMPLE_RATE
    every = np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::SAMPLE_RATE]
    return every[: max(1, whole_seconds - 9)]
