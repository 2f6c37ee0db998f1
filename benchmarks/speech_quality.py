"""How good speech sounds that came through a channel: the usual instruments, each from its own package.

Each is optional, since some need a C compiler or bring weights: `load_metrics` says which ones are missing.
"""

import contextlib
import importlib
import io
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType

import numpy as np
import torch

from benchmarks.dnsmos import load_dnsmos
from benchmarks.speech_tars import SAMPLE_RATE

Score = Callable[[np.ndarray, np.ndarray], float]
"""From what was sent and what was heard, both float32 of shape (samples,) at 16 kHz; more is better."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One instrument.

    Attributes:
        label: its name as it is printed.
        package: what it comes in.
        load: gives the function that scores. Raises ImportError where something is not installed.
        digits: how many are worth printing behind the point.
    """

    label: str
    package: str
    load: Callable[[], Score]
    digits: int = 2

    @property
    def version(self) -> str:
        """Of the package, since another may score otherwise."""
        return f"{self.package} {version(self.package)}"


def load_pesq() -> Score:
    """PESQ, wide band (ITU-T P.862.2): 1.0 to 4.6."""
    from pesq import pesq

    return lambda sent, heard: float(pesq(SAMPLE_RATE, sent, heard, "wb"))


def load_stoi() -> Score:
    """Short-time objective intelligibility (Taal et al., 2011): 0 to 1."""
    from pystoi import stoi

    return lambda sent, heard: float(stoi(sent, heard, SAMPLE_RATE))


def load_visqol() -> Score:
    """ViSQOL v3 in its mode for speech, with the mapping that Google's own program uses: 1 to 5."""
    # Without this runtime the package falls back to a mapping whose figures compare with nobody's.
    importlib.import_module("ai_edge_litert")
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="speech", use_lattice_model=True)
    return lambda sent, heard: float(api.measure_from_arrays(sent, heard, SAMPLE_RATE).moslqo)


def load_dnsmos_overall() -> Score:
    """DNSMOS P.835, the overall opinion: 1 to 5; hears nothing of what was sent."""
    opinion = load_dnsmos()
    return lambda _, heard: opinion(heard)


def load_distillmos() -> Score:
    """DistillMOS (arXiv 2502.05356): 1 to 5; hears nothing of what was sent."""
    with _something_called_torchaudio():
        from distillmos.sqa import MAX_HOP_LEN, SEQ_LEN, ConvTransformerSQAModel
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        network = ConvTransformerSQAModel().eval()

    @torch.inference_mode()
    def opinion(_: np.ndarray, heard: np.ndarray) -> float:
        # The network would cut the same windows itself, and hold all of them at once: gigabytes for half a minute.
        excess = max(0, len(heard) - SEQ_LEN)
        starts = np.linspace(0, excess, math.ceil(excess / MAX_HOP_LEN) + 1).astype(int)
        windows = (torch.from_numpy(heard[start : start + SEQ_LEN]) for start in starts)
        return float(np.mean([float(network(window[None])) for window in windows]))

    return opinion


METRICS: Mapping[str, Metric] = {
    "pesq": Metric("PESQ", "pesq", load_pesq),
    "stoi": Metric("STOI", "pystoi", load_stoi, digits=3),
    "visqol": Metric("ViSQOL", "visqol-python", load_visqol),
    "dnsmos": Metric("DNSMOS", "speechmos", load_dnsmos_overall),
    "distillmos": Metric("DistillMOS", "distillmos", load_distillmos),
}


def load_metrics(names: Sequence[str]) -> tuple[dict[str, Score], dict[str, str]]:
    """Those of METRICS that are installed, ready to score, and why the others are not. Raises KeyError."""
    ready, missing = {}, {}
    for name in names:
        try:
            ready[name] = METRICS[name].load()
        except ImportError as error:
            missing[name] = str(error)
    return ready, missing


@contextlib.contextmanager
def _something_called_torchaudio() -> Iterator[None]:
    """DistillMOS imports torchaudio to read files alone, and many a torch has no torchaudio that fits it."""
    there = "torchaudio" in sys.modules
    sys.modules.setdefault("torchaudio", ModuleType("torchaudio"))
    try:
        yield
    finally:
        if not there:
            del sys.modules["torchaudio"]
