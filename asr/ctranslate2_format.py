"""CTranslate2's `model.bin` of a Whisper model, read into openai-whisper's tensor names.

The packages on the Python package index that carry Whisper's weights carry them in this format. The reader
trusts nothing that the file says about itself: every length is checked against what is left of the file.
"""

import math
import struct
from dataclasses import dataclass

import torch
from torch import Tensor
from whisper.model import ModelDimensions

from voicewire.asr.errors import WeightsError

FORMAT_VERSION = 6
_SPECIFICATION = "WhisperSpec"
_MAX_RANK = 8
_HEAD_DIM = 64  # in every Whisper model
_DTYPES = {
    0: torch.float32,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.float16,
    5: torch.bfloat16,
}


@dataclass(slots=True)
class _Reader:
    """A position in the file's bytes; reading past the end is a WeightsError."""

    data: bytearray
    where: str
    position: int = 0

    def take(self, count: int, what: str) -> int:
        """Skip `count` bytes and return where they began."""
        begin = self.position
        if count > len(self.data) - begin:
            raise WeightsError(
                f"{self.where} ends within {what} ({count} bytes wanted at {begin}, {len(self.data) - begin} "
                "left): the file is cut short or damaged, fetch it again"
            )
        self.position = begin + count
        return begin

    def number(self, code: str, what: str) -> int:
        layout = struct.Struct("<" + code)
        value: int = layout.unpack_from(self.data, self.take(layout.size, what))[0]
        return value

    def string(self, what: str) -> str:
        count = self.number("H", what)
        begin = self.take(count, what)
        try:
            return self.data[begin : begin + count].rstrip(b"\0").decode()
        except UnicodeDecodeError:
            raise WeightsError(f"{self.where}: {what} is not text: the file is damaged") from None


def looks_like_ctranslate2(head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes are enough) is a CTranslate2 Whisper model."""
    name = _SPECIFICATION.encode() + b"\0"
    return head[4 : 6 + len(name)] == struct.pack("<H", len(name)) + name


def read_variables(data: bytearray, where: str = "model.bin") -> dict[str, Tensor]:
    """Every variable of a `model.bin`, aliases included, as tensors that share the memory of `data`.

    Args:
        data: the whole file.
        where: what to call the file in errors.

    Raises:
        WeightsError: the file is cut short, damaged, or of another kind or version.
    """
    reader = _Reader(data, where)
    version = reader.number("I", "the version")
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{where} is not a CTranslate2 model of version {FORMAT_VERSION} (it says {version}): "
            "convert the model again with a current ctranslate2"
        )
    specification = reader.string("the specification's name")
    if specification != _SPECIFICATION:
        raise WeightsError(f"{where} holds a {specification!r}, not a Whisper model")
    reader.number("I", "the revision")
    variables: dict[str, Tensor] = {}
    for index in range(reader.number("I", "the number of variables")):
        name = reader.string(f"the name of variable {index}")
        if name in variables:
            raise WeightsError(f"{where} has two variables called {name!r}: the file is damaged")
        variables[name] = _read_tensor(reader, name)
    for index in range(reader.number("I", "the number of aliases")):
        alias, name = reader.string(f"alias {index}"), reader.string(f"the target of alias {index}")
        if name not in variables:
            raise WeightsError(f"{where}: {alias!r} stands for {name!r}, which is not there")
        variables[alias] = variables[name]
    if reader.position != len(data):
        raise WeightsError(f"{where} goes on after its end: the file is damaged")
    return variables


def _read_tensor(reader: _Reader, name: str) -> Tensor:
    rank = reader.number("B", f"the rank of {name!r}")
    if rank > _MAX_RANK:
        raise WeightsError(f"{reader.where}: {name!r} has {rank} dimensions: the file is damaged")
    shape = [reader.number("I", f"the shape of {name!r}") for _ in range(rank)]
    code = reader.number("B", f"the type of {name!r}")
    if code not in _DTYPES:
        raise WeightsError(f"{reader.where}: {name!r} has the unknown type {code}: the file is damaged")
    dtype = _DTYPES[code]
    count = math.prod(shape)
    size = reader.number("I", f"the size of {name!r}")
    if size != count * dtype.itemsize:
        raise WeightsError(
            f"{reader.where}: {name!r} of shape {shape} should have {count * dtype.itemsize} bytes and says "
            f"{size}: the file is damaged"
        )
    begin = reader.take(size, f"the values of {name!r}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    # Variables lie wherever the names before them end, so most are not aligned to their type.
    flat = torch.frombuffer(reader.data, dtype=torch.uint8, count=size, offset=begin).clone()
    return flat.view(dtype).reshape(shape)


def to_openai_names(
    variables: dict[str, Tensor], where: str = "model.bin"
) -> tuple[ModelDimensions, dict[str, Tensor]]:
    """CTranslate2's variables as the dimensions and the state dict that openai-whisper's model takes.

    Raises:
        WeightsError: a variable is missing or has an impossible shape, or the model is quantised.
    """
    return _Renaming(variables, where).run()


@dataclass(slots=True)
class _Renaming:
    variables: dict[str, Tensor]
    where: str

    def run(self) -> tuple[ModelDimensions, dict[str, Tensor]]:
        audio_positions = self.get("encoder/position_encodings/encodings", 2)
        text_positions = self.get("decoder/position_encodings/encodings", 2)
        embedding = self.get("decoder/embeddings/weight", 2)
        first_conv = self.get("encoder/conv1/weight", 3)
        audio_state, text_state = audio_positions.shape[1], text_positions.shape[1]
        dims = ModelDimensions(
            n_mels=first_conv.shape[1],
            n_audio_ctx=audio_positions.shape[0],
            n_audio_state=audio_state,
            n_audio_head=max(1, audio_state // _HEAD_DIM),
            n_audio_layer=self.count_layers("encoder"),
            n_vocab=embedding.shape[0],
            n_text_ctx=text_positions.shape[0],
            n_text_state=text_state,
            n_text_head=max(1, text_state // _HEAD_DIM),
            n_text_layer=self.count_layers("decoder"),
        )
        state = {
            "encoder.positional_embedding": audio_positions,
            "decoder.positional_embedding": text_positions,
            "decoder.token_embedding.weight": embedding,
        }
        for conv in ("conv1", "conv2"):
            state[f"encoder.{conv}.weight"] = self.get(f"encoder/{conv}/weight", 3)
            state[f"encoder.{conv}.bias"] = self.get(f"encoder/{conv}/bias", 1)
        state |= self.norm("encoder.ln_post", "encoder/layer_norm")
        state |= self.norm("decoder.ln", "decoder/layer_norm")
        for layer in range(dims.n_audio_layer):
            state |= self.block(f"encoder.blocks.{layer}", f"encoder/layer_{layer}", cross=False)
        for layer in range(dims.n_text_layer):
            state |= self.block(f"decoder.blocks.{layer}", f"decoder/layer_{layer}", cross=True)
        return dims, state

    def get(self, name: str, rank: int) -> Tensor:
        tensor = self.variables.get(name)
        if tensor is None:
            raise WeightsError(f"{self.where} has no variable {name!r}: it is not a whole Whisper model")
        if not tensor.is_floating_point():
            raise WeightsError(
                f"{self.where} is quantised ({name!r} is {tensor.dtype}): "
                "convert the model with --quantization float16 or float32"
            )
        if tensor.ndim != rank:
            raise WeightsError(
                f"{self.where}: {name!r} has shape {tuple(tensor.shape)}, not {rank} dimensions"
            )
        # openai-whisper's names take two types only; bfloat16 fits float32 exactly.
        return tensor.float() if tensor.dtype == torch.bfloat16 else tensor

    def count_layers(self, side: str) -> int:
        count = 0
        while f"{side}/layer_{count}/ffn/linear_0/weight" in self.variables:
            count += 1
        return count

    def norm(self, target: str, source: str) -> dict[str, Tensor]:
        return {
            f"{target}.weight": self.get(f"{source}/gamma", 1),
            f"{target}.bias": self.get(f"{source}/beta", 1),
        }

    def linear(self, targets: list[str], source: str) -> dict[str, Tensor]:
        """One linear layer, or several stacked by output; Whisper's keys have no bias, there it is zero."""
        weight, bias = self.get(f"{source}/weight", 2), self.get(f"{source}/bias", 1)
        if weight.shape[0] % len(targets) or bias.shape[0] != weight.shape[0]:
            raise WeightsError(f"{self.where}: {source!r} does not hold {len(targets)} layers: it is damaged")
        state = {}
        for target, part, offset in zip(
            targets, weight.chunk(len(targets)), bias.chunk(len(targets)), strict=True
        ):
            state[f"{target}.weight"] = part.clone()
            if not target.endswith(".key"):
                state[f"{target}.bias"] = offset.clone()
            elif offset.any():
                raise WeightsError(f"{self.where}: {source!r} has a bias for its keys: not a Whisper model")
        return state

    def block(self, target: str, source: str, *, cross: bool) -> dict[str, Tensor]:
        attention = f"{target}.attn"
        state = self.norm(f"{target}.attn_ln", f"{source}/self_attention/layer_norm")
        parts = [f"{attention}.query", f"{attention}.key", f"{attention}.value"]
        state |= self.linear(parts, f"{source}/self_attention/linear_0")
        state |= self.linear([f"{attention}.out"], f"{source}/self_attention/linear_1")
        if cross:
            attention = f"{target}.cross_attn"
            state |= self.norm(f"{target}.cross_attn_ln", f"{source}/attention/layer_norm")
            state |= self.linear([f"{attention}.query"], f"{source}/attention/linear_0")
            state |= self.linear([f"{attention}.key", f"{attention}.value"], f"{source}/attention/linear_1")
            state |= self.linear([f"{attention}.out"], f"{source}/attention/linear_2")
        state |= self.norm(f"{target}.mlp_ln", f"{source}/ffn/layer_norm")
        state |= self.linear([f"{target}.mlp.0"], f"{source}/ffn/linear_0")
        state |= self.linear([f"{target}.mlp.2"], f"{source}/ffn/linear_1")
        return state
