"""A stream of EnCodec, and the same as bytes: tensors as safetensors, all else as JSON in its header."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from voicewire.codecs.encodec_network import CHOICES, CODES
from voicewire.codecs.errors import CodecStateError

FORMAT = "voicewire.encodec.1"
_HEADER = "voicewire"
_WAITING = "waiting"


@dataclass(slots=True, eq=False)
class Stream:
    """What is known of a stream, but for its layers' memory.

    Attributes:
        codebooks: codes per frame that an encoder makes.
        frame: place of the next frame; None: a decoder's first may be any.
        begun: whether its beginning is behind it; until then, frames wait.
        waiting: samples (samples,), or codes (frames, CODEBOOKS) with CODES where there is none.
        owed: samples that a decoder's tokens stand for and that it has not given yet.
        ended: whether the last tokens ended in mid-frame, so that none may follow.
    """

    codebooks: int
    frame: int | None
    begun: bool
    waiting: np.ndarray = field(repr=False)
    owed: int = 0
    ended: bool = False


def write_snapshot(stream: Stream, memory: Mapping[str, Tensor], identity: Mapping[str, str | bool]) -> bytes:
    """The stream and the memory of its layers, of shape (rows, channels) each."""
    facts = {
        "format": FORMAT,
        "identity": dict(identity),
        "codebooks": stream.codebooks,
        "frame": stream.frame,
        "begun": stream.begun,
        "owed": stream.owed,
        "ended": stream.ended,
    }
    tensors = {name: rows.clone() for name, rows in memory.items()}
    tensors[_WAITING] = torch.from_numpy(stream.waiting.copy())
    return save(tensors, {_HEADER: json.dumps(facts)})


def read_snapshot(
    data: bytes,
    identity: Mapping[str, str | bool],
    memory: Mapping[str, Tensor],
    no_units: np.ndarray,
    most_units: int,
) -> tuple[Stream, dict[str, Tensor]]:
    """The stream and the memory of its layers.

    Args:
        data: what `write_snapshot` gave.
        identity: what it must have been given.
        memory: tensors of the shapes and types that the layers' memory must have.
        no_units: of the shape and type of what waits, but for its length.
        most_units: what waits is less.

    Raises:
        CodecStateError: the bytes are damaged, or belong to another codec, direction, version or other weights.
    """
    try:
        tensors = load(data)
        # the header's length, then JSON: the format's own layout, since `load` keeps the metadata to itself
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts = json.loads(header["__metadata__"][_HEADER])
        found = facts.pop("format"), facts.pop("identity")
        stream = Stream(waiting=tensors.pop(_WAITING).numpy(), **facts)
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CodecStateError(f"this is no snapshot of a stream of EnCodec: {error}") from error
    if found != (FORMAT, dict(identity)):
        raise CodecStateError(
            f"the snapshot is {found[0]} of {found[1]}, this is {FORMAT} of {dict(identity)}"
        )
    if not _can_be(stream, no_units, most_units) or _kinds(tensors) != _kinds(memory):
        raise CodecStateError("the snapshot is damaged: what it holds is no stream of EnCodec")
    return stream, tensors


def _can_be(stream: Stream, no_units: np.ndarray, most_units: int) -> bool:
    waiting, is_audio = stream.waiting, no_units.dtype == np.float32
    return (
        (waiting.dtype, waiting.shape[1:]) == (no_units.dtype, no_units.shape[1:])
        and len(waiting) < most_units
        and (is_audio or bool(((waiting >= 0) & (waiting <= CODES)).all()))
        and type(stream.codebooks) is int
        and stream.codebooks in CHOICES
        and ((type(stream.frame) is int and stream.frame >= 0) or (stream.frame is None and not is_audio))
        and type(stream.owed) is int
        and stream.owed >= 0
        and type(stream.begun) is type(stream.ended) is bool
    )


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
