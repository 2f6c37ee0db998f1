"""Which number type and device the model runs in, chosen by trying them for a moment.

bfloat16 is four times faster than float32 on processors with AVX512-BF16 or AMX and slower on all others, and
what a processor says of itself does not tell which the installed torch makes use of.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear
from whisper.model import ModelDimensions

from voicewire.asr.errors import SettingsError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_BLOCK_ROWS = 60  # frames of a committed block of 1.2 s
_STEP_ROWS = 1  # a token of one stream
_STEPS_PER_BLOCK = 2  # decoder passes beside one encoder pass, as a tick of 300 ms has them
_MOST_LAYERS = 8
_ROUNDS = 6
_PATIENCE_S = 0.3  # an emulated type is not waited for
_WORTH = 1.15  # float32 is the more exact, so bfloat16 must be faster by as much


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one type took for a stack of layers of the model's width.

    Attributes:
        dtype: its name.
        block_ms: a block of 60 rows, the encoder's work.
        step_ms: one row, the decoder's work.
    """

    dtype: str
    block_ms: float
    step_ms: float

    @property
    def mix_ms(self) -> float:
        """A block and the decoder steps that go with it."""
        return self.block_ms + _STEPS_PER_BLOCK * self.step_ms


@dataclass(frozen=True, slots=True)
class Precision:
    """The choice.

    Attributes:
        dtype: torch's type.
        device: "cpu" or "cuda".
        reason: why, in words for people.
        measured: what was tried; empty where there was no choice.
    """

    dtype: torch.dtype
    device: str
    reason: str
    measured: tuple[Measurement, ...] = ()

    @property
    def name(self) -> str:
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)


def choose_precision(dims: ModelDimensions, *, device: str = "auto", precision: str = "auto") -> Precision:
    """Choose for a model of dimensions `dims`; a choice by measurement takes up to 0.5 s, once per process.

    Args:
        dims: the model's.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        precision: "auto", "float32" or "bfloat16".

    Raises:
        SettingsError: there is no such device or precision.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device must be auto, cpu or cuda, not {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("this torch sees no CUDA device: install one with CUDA, or set device to cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision in DTYPES:
        return Precision(DTYPES[precision], device, "asked for")
    if precision != "auto":
        raise SettingsError(f"precision must be auto, {' or '.join(DTYPES)}, not {precision!r}")
    return _fastest(dims.n_audio_state, min(dims.n_audio_layer, _MOST_LAYERS), device)


@cache
def _fastest(width: int, layers: int, device: str) -> Precision:
    exact, short = measured = _measure(width, layers, device)
    ratio = exact.mix_ms / short.mix_ms
    where = device if device == "cuda" else "a thread of this cpu"
    if ratio >= _WORTH:
        return Precision(torch.bfloat16, device, f"bfloat16 is {ratio:.1f} times faster on {where}", measured)
    reason = f"bfloat16 is only {ratio:.2f} times as fast as float32 on {where}"
    return Precision(torch.float32, device, reason, measured)


@torch.inference_mode()
def _measure(width: int, layers: int, device: str) -> tuple[Measurement, ...]:
    """Both types in turn, so that what else the machine does meets both alike; the best of each counts."""
    trials = [_Trial(name, width, layers, device) for name in DTYPES]
    until = time.perf_counter() + _PATIENCE_S
    with _one_thread():
        for _ in range(_ROUNDS):
            for trial in trials:
                trial.round()
            if time.perf_counter() > until:
                break
    return tuple(trial.result() for trial in trials)


class _Trial:
    """One type under measurement."""

    def __init__(self, name: str, width: int, layers: int, device: str) -> None:
        self.name = name
        dtype = DTYPES[name]
        # As many weights as the model has layers: a single one would stay in the cache, which a model does not.
        self.weights = [torch.ones(4 * width, width, dtype=dtype, device=device) for _ in range(layers)]
        self.block = torch.ones(_BLOCK_ROWS, width, dtype=dtype, device=device)
        self.block_ms = self.step_ms = math.inf

    def round(self) -> None:
        self.block_ms = min(self.block_ms, self._ms(self.block))
        self.step_ms = min(self.step_ms, self._ms(self.block[:_STEP_ROWS]))

    def result(self) -> Measurement:
        return Measurement(self.name, self.block_ms, self.step_ms)

    def _ms(self, rows: Tensor) -> float:
        # A CPU's thread counts its own time, so that others' work on the machine does not count against a type.
        clock = time.perf_counter if rows.is_cuda else time.thread_time
        began = clock()
        for weight in self.weights:
            linear(rows, weight)
        if rows.is_cuda:
            torch.cuda.synchronize()
        return (clock() - began) * 1000


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
