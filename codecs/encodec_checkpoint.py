"""EnCodec's weights from disk: the published checkpoint, or safetensors with its names or those of transformers.

Both name the same layers, and keep each convolution's weight as a direction and a length (weight norm), which are
multiplied here, once. A layer's name here is its place alone: `encoder.1.block.3.weight`, `quantizer.0`.
"""

import hashlib
import io
import re
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from voicewire.codecs.codec_weights import WeightsFile, read_weights
from voicewire.codecs.encodec_network import CHANNELS, CODEBOOKS, CODES, RATIOS, WIDTH
from voicewire.codecs.errors import CodecWeightsError

# The digits of its SHA-256 that Meta tells are in the file's name.
PUBLISHED = WeightsFile(
    codec="encodec_24khz",
    name="encodec_24khz-d7cc33bc.th",
    url="https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th",
    sha256="d7cc33bc",
    most_bytes=256 << 20,
)

_RENAMINGS = (
    (r"^(encoder|decoder)\.(model|layers)\.", r"\1."),
    (r"\.convtr\.convtr\.|\.conv\.conv\.|\.conv\.", "."),
    (r"^quantizer\.(vq\.)?layers\.(\d+)\._?codebook\.embed$", r"quantizer.\2"),
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
)
# How the codebooks were trained: of no use here.
_TRAINING = re.compile(r"codebook\.(inited|cluster_size|embed_avg)$")


def read_encodec(path: Path | None = None) -> tuple[dict[str, Tensor], str]:
    """The weights by the names of this module, float32, and their SHA-256 whatever the file.

    Args:
        path: the published checkpoint or a safetensors file, or the folder of either. None: the cache, or the
            publisher's download.

    Raises:
        CodecWeightsError: they cannot be had, or are not EnCodec's at 24 kHz.
    """
    path = None if path is None else _safetensors_in(Path(path).expanduser())
    if path is not None and path.suffix == ".safetensors":
        found, where = _read_safetensors(path), str(path)
    else:
        found, where = _unpickled(read_weights(PUBLISHED, path)), PUBLISHED.name
    named = {_renamed(name): tensor for name, tensor in found.items() if not _TRAINING.search(name)}
    digest = _sha256(named)
    weights = _folded(named)
    _check(weights, where)
    return weights, digest


def _safetensors_in(path: Path) -> Path:
    """The file in a folder that has no published checkpoint, but transformers' file."""
    inside = path / "model.safetensors"
    return inside if inside.is_file() and not (path / PUBLISHED.name).is_file() else path


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.stat().st_size > PUBLISHED.most_bytes:
            raise CodecWeightsError(f"{path} is larger than EnCodec's weights: give another file")
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CodecWeightsError(
            f"{path} cannot be read as safetensors ({error}): give another file"
        ) from error


def _unpickled(data: bytes) -> dict[str, Tensor]:
    """Of bytes whose hash is right; no more than tensors is unpickled all the same."""
    try:
        return dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except (UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise CodecWeightsError(f"{PUBLISHED.name} cannot be read as a checkpoint: {error}") from error


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMINGS:
        name = re.sub(pattern, replacement, name)
    return name


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _folded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each direction made as long as it should be."""
    folded = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight_v"):
            length = tensors.get(name.replace("weight_v", "weight_g"))
            if length is None or length.ndim != tensor.ndim:
                raise CodecWeightsError(f"{name} has no length beside it: give another file")
            folded[name.replace("weight_v", "weight")] = torch._weight_norm(tensor.float(), length.float(), 0)
        elif not name.endswith(".weight_g"):
            folded[name] = tensor.float()
    return folded


def _check(weights: dict[str, Tensor], where: str) -> None:
    wanted = expected_shapes()
    missing, unexpected = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or unexpected:
        raise CodecWeightsError(
            f"{where} is not EnCodec at 24 kHz: {len(missing)} tensors missing {sorted(missing)[:3]}, "
            f"{len(unexpected)} unexpected {sorted(unexpected)[:3]}"
        )
    for name, shape in wanted.items():
        if tuple(weights[name].shape) != shape:
            raise CodecWeightsError(
                f"{where} is not EnCodec at 24 kHz: {name} has the shape {tuple(weights[name].shape)}, not {shape}"
            )
        if not weights[name].isfinite().all():
            raise CodecWeightsError(f"{where} is damaged: {name} is not finite")


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the network, folded, by its name."""
    widest = CHANNELS[-1]
    shapes = _convolution("encoder.0", 1, CHANNELS[0], 7) | _convolution("encoder.15", widest, WIDTH, 7)
    shapes |= _convolution("decoder.0", WIDTH, widest, 7) | _convolution("decoder.15", CHANNELS[0], 1, 7)
    shapes |= _lstm("encoder.13.lstm", widest) | _lstm("decoder.1.lstm", widest)
    for scale, ratio in enumerate(RATIOS):
        narrow, wide = CHANNELS[scale : scale + 2]
        back = len(RATIOS) - 1 - scale
        shapes |= _residual(f"encoder.{1 + 3 * scale}", narrow) | _residual(f"decoder.{4 + 3 * back}", narrow)
        shapes |= _convolution(f"encoder.{3 + 3 * scale}", narrow, wide, 2 * ratio)
        grow = f"decoder.{3 + 3 * back}"
        shapes |= {f"{grow}.weight": (wide, narrow, 2 * ratio), f"{grow}.bias": (narrow,)}
    return shapes | {f"quantizer.{place}": (CODES, WIDTH) for place in range(CODEBOOKS)}


def _convolution(name: str, inputs: int, outputs: int, kernel: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs, kernel), f"{name}.bias": (outputs,)}


def _residual(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return (
        _convolution(f"{name}.block.1", channels, channels // 2, 3)
        | _convolution(f"{name}.block.3", channels // 2, channels, 1)
        | _convolution(f"{name}.shortcut", channels, channels, 1)
    )


def _lstm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.{kind}_{part}_l{layer}": (4 * width, width) if kind == "weight" else (4 * width,)
        for kind in ("weight", "bias")
        for part in ("ih", "hh")
        for layer in range(2)
    }
