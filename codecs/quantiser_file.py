"""A quantiser on disk: safetensors in half precision, with the names of its codec and of its encoder."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from voicewire.codecs.errors import CodecWeightsError
from voicewire.codecs.quantiser import Quantiser, Shape

FORMAT = "voicewire.quantiser.1"
SHIPPED = Path(__file__).parent / "shipped" / "whisper-semantic-1"


@dataclass(frozen=True)
class QuantiserFile:
    """What a file holds.

    Attributes:
        codec: the name that its tokens carry.
        quantiser: in float32, not to be trained.
        model_sha256, adapter_sha256: of the encoder.
        sha256: of the file.
    """

    codec: str
    quantiser: Quantiser
    model_sha256: str
    adapter_sha256: str
    sha256: str


def write_quantiser(
    path: Path, codec: str, quantiser: Quantiser, model_sha256: str, adapter_sha256: str
) -> None:
    """Raises OSError where it cannot be written."""
    header = {
        "format": FORMAT,
        "codec": codec,
        "shape": json.dumps(asdict(quantiser.shape)),
        "model_sha256": model_sha256,
        "adapter_sha256": adapter_sha256,
    }
    tensors = {name: tensor.half().contiguous() for name, tensor in quantiser.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(tensors, header))


def read_quantiser(path: Path) -> QuantiserFile:
    """Raises CodecWeightsError where the file is missing, damaged or something else."""
    try:
        data = path.read_bytes()
        tensors = load(data)
        # the header's length, then JSON: the format's own layout, since `load` keeps the metadata to itself
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        with torch.device("meta"):
            quantiser = Quantiser(Shape(**json.loads(header["shape"])))
        quantiser.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        if not all(torch.isfinite(tensor).all() for tensor in quantiser.state_dict().values()):
            raise ValueError("some of its numbers are not finite")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CodecWeightsError(f"{path} is no quantiser: {error}") from error
    return QuantiserFile(
        codec=header["codec"],
        quantiser=quantiser.eval().requires_grad_(False),
        model_sha256=header["model_sha256"],
        adapter_sha256=header["adapter_sha256"],
        sha256=hashlib.sha256(data).hexdigest(),
    )
