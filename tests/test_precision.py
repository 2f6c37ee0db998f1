"""The choice of number type: by measurement, by order, and refused where it cannot be."""

import pytest
import torch
from whisper.model import ModelDimensions

from voicewire.asr import precision as module
from voicewire.asr.errors import SettingsError
from voicewire.asr.precision import Measurement, choose_precision

BASE = ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)


@pytest.fixture(autouse=True)
def forget() -> None:
    module._fastest.cache_clear()


def test_auto_takes_what_measured_faster() -> None:
    choice = choose_precision(BASE, device="cpu")
    exact, short = choice.measured
    assert (exact.dtype, short.dtype) == ("float32", "bfloat16")
    assert min(exact.block_ms, exact.step_ms, short.block_ms, short.step_ms) > 0
    faster = exact.mix_ms / short.mix_ms >= 1.15
    assert choice.name == ("bfloat16" if faster else "float32")
    assert choice.device == "cpu"
    assert "bfloat16" in choice.reason


def test_the_measurement_is_made_once() -> None:
    assert choose_precision(BASE, device="cpu") is choose_precision(BASE, device="cpu")


@pytest.mark.parametrize(("short_ms", "name"), [(2.0, "bfloat16"), (9.5, "float32"), (80.0, "float32")])
def test_a_slow_bfloat16_is_left_alone(monkeypatch: pytest.MonkeyPatch, short_ms: float, name: str) -> None:
    measured = Measurement("float32", 10.0, 0.0), Measurement("bfloat16", short_ms, 0.0)
    monkeypatch.setattr(module, "_measure", lambda *_: measured)
    assert choose_precision(BASE, device="cpu").name == name


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_what_is_asked_for_is_not_measured(name: str) -> None:
    choice = choose_precision(BASE, device="cpu", precision=name)
    assert (choice.dtype, choice.measured) == (getattr(torch, name), ())


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="device must be"):
        choose_precision(BASE, device="tpu")
    with pytest.raises(SettingsError, match="precision must be"):
        choose_precision(BASE, precision="int4")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="no CUDA"):
            choose_precision(BASE, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_taken_where_it_is() -> None:
    choice = choose_precision(BASE)
    assert choice.device == "cuda"
    assert len(choice.measured) == 2
