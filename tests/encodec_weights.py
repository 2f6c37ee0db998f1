"""Random weights with EnCodec's names: the published ones cannot be had everywhere, and any show what is exact.

Scaled so that a signal keeps its size through all layers and codes are various; the LSTM remembers about a second.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from voicewire.codecs.encodec_checkpoint import expected_shapes


def random_state(seed: int = 0) -> dict[str, Tensor]:
    """By the names of the published checkpoint, with direction and length of each convolution's weight."""
    dice = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in expected_shapes().items():
        values = torch.randn(shape, generator=dice)
        if name.startswith("quantizer"):
            place = name.removeprefix("quantizer.")
            book = f"quantizer.vq.layers.{place}._codebook"
            state |= {
                f"{book}.embed": values * 0.25 * 0.97 ** int(place),
                f"{book}.inited": torch.ones(1),
                f"{book}.cluster_size": torch.ones(shape[0]),
                f"{book}.embed_avg": torch.zeros(shape),
            }
        elif ".lstm." in name:
            state[model_name(name)] = values * 0.03 if "weight" in name else keeping(values * 0.1)
        elif name.endswith("bias"):
            state[model_name(name)] = values * 0.05
        else:
            state[model_name(name).replace("weight", "weight_v")] = values
            lengths = values.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            state[model_name(name).replace("weight", "weight_g")] = torch.full_like(
                lengths, gain(name, shape)
            )
    return state


def model_name(name: str) -> str:
    """The published checkpoint's name of one of our layers."""
    side, place, rest = name.split(".", 2)
    if rest.startswith("lstm"):
        return f"{side}.model.{place}.{rest}"
    kind = "convtr" if side == "decoder" and place in ("3", "6", "9", "12") else "conv"
    *inside, last = rest.split(".")
    return ".".join([side, "model", place, *inside, kind, kind, last])


def keeping(bias: Tensor) -> Tensor:
    """Each of the two biases, with a forget gate that leans to keeping."""
    bias[512:1024] += 0.5
    return bias


def gain(name: str, shape: tuple[int, ...]) -> float:
    """The length of a weight that makes what comes out as large as what went in, roughly."""
    if name == "encoder.0.weight":
        return 6.0  # speech is soft
    if name == "decoder.15.weight":
        return 0.1
    if "block.3" in name or "shortcut" in name:
        return 0.8
    if name.startswith("decoder") and name.split(".")[1] in ("3", "6", "9", "12"):
        return 1.2 * (shape[2] / 4) ** 0.5
    return 1.2


@cache
def random_weights() -> Path:
    """A file of them, written once per run and removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="voicewire-encodec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_file(random_state(), folder / "encodec_24khz.safetensors")
    return folder / "encodec_24khz.safetensors"
