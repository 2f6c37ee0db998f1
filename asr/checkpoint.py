"""A Whisper model's dimensions and tensors, and the safetensors file that voicewire keeps them in.

The file's header holds the model's name and dimensions, the SHA-256 of the file that it was made from and
that of its tensors, so that a damaged cache is noticed before it is used.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from whisper.model import AudioEncoder, ModelDimensions, TextDecoder

from voicewire.asr.errors import WeightsError

FORMAT = "voicewire.whisper.1"
_MOST_LAYERS = 256
_MOST_WIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A Whisper model as it comes from disk.

    Attributes:
        dims: openai-whisper's dimensions.
        state: tensors by openai-whisper's names, float16 or float32, on the CPU.
        source: where it was found, in words.
        sha256: of the tensors, so the same for the same model from any source in the same type.
        source_sha256: of the file that the tensors were first read from.
        name: openai-whisper's name of the model, or the file's own name where it is none of those.
    """

    dims: ModelDimensions
    state: dict[str, Tensor]
    source: str
    sha256: str
    source_sha256: str
    name: str

    @property
    def multilingual(self) -> bool:
        return bool(self.dims.n_vocab >= 51865)


def tensors_sha256(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_state(dims: ModelDimensions, state: dict[str, Tensor], where: str) -> None:
    """Raise WeightsError unless `state` is exactly what openai-whisper's model of these dimensions takes."""
    wanted = _expected_shapes(dims, where)
    missing, unexpected = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    if missing or unexpected:
        raise WeightsError(
            f"{where} is not a whole Whisper model: {len(missing)} tensors missing {sorted(missing)[:3]}, "
            f"{len(unexpected)} unexpected {sorted(unexpected)[:3]}"
        )
    for name, shape in wanted.items():
        tensor = state[name]
        if tensor.shape != shape or tensor.dtype not in (torch.float16, torch.float32):
            raise WeightsError(
                f"{where}: {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"wanted is float16 or float32 of shape {tuple(shape)}"
            )


def _expected_shapes(dims: ModelDimensions, where: str) -> dict[str, torch.Size]:
    # The numbers may come from a damaged file: even empty modules of a billion layers take for ever to build.
    sizes = asdict(dims)
    for name, value in sizes.items():
        most = _MOST_LAYERS if name.endswith("_layer") else _MOST_WIDE
        if type(value) is not int or not 1 <= value <= most:
            raise WeightsError(
                f"{where}: the dimension {name} = {value!r} is impossible: the file is damaged"
            )
    if dims.n_audio_state % dims.n_audio_head or dims.n_text_state % dims.n_text_head:
        raise WeightsError(f"{where}: the heads do not divide the width: the file is damaged")
    with torch.device("meta"):
        encoder = AudioEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )
        decoder = TextDecoder(
            dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer
        )
    shapes = {f"encoder.{name}": tensor.shape for name, tensor in encoder.state_dict().items()}
    return shapes | {f"decoder.{name}": tensor.shape for name, tensor in decoder.state_dict().items()}


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write to `path` in one step: other processes see the whole file or none.

    Raises:
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": FORMAT,
        "name": checkpoint.name,
        "dims": json.dumps(asdict(checkpoint.dims)),
        "source": checkpoint.source,
        "source_sha256": checkpoint.source_sha256,
        "tensors_sha256": checkpoint.sha256,
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in checkpoint.state.items()}, temporary, metadata
        )
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote; hashing its tensors costs about 0.1 s for each 150 MB.

    Raises:
        WeightsError: the file is of another kind, damaged, or its tensors are not those that were written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error}): delete it") from None
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is a safetensors file, but not one of voicewire's: "
            "give an OpenAI .pt file or a CTranslate2 folder instead"
        )
    try:
        dims = ModelDimensions(**json.loads(metadata["dims"]))
        name, source, source_sha256 = metadata["name"], metadata["source"], metadata["source_sha256"]
        expected = metadata["tensors_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has a damaged header ({error}): delete it") from None
    check_state(dims, state, str(path))
    if tensors_sha256(state) != expected:
        raise WeightsError(f"{path} is damaged (its tensors have changed since it was written): delete it")
    return Checkpoint(dims, state, source, expected, source_sha256, name)
