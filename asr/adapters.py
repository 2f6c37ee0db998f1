"""Adapters: small trained changes to Whisper's layers that are merged into its weights when it is loaded.

Two formats are read, PEFT's and WhisperRT's. Merging happens in float32, before any cast.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from voicewire.asr.checkpoint import Checkpoint, tensors_sha256
from voicewire.asr.errors import WeightsError
from voicewire.asr.low_rank import LowRank
from voicewire.asr.peft_format import CONFIG_FILE, TENSORS_FILE, read_peft
from voicewire.asr.whisperrt_format import read_whisperrt

log = logging.getLogger(__name__)

SHIPPED = {"base": "base-en-1"}
"""The adapters that come with voicewire, by the name of the model that they were trained for."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is to be changed in a Whisper model.

    Attributes:
        name: "none", the name of a shipped adapter, or that of the folder or file.
        source: where it was found, in words.
        changes: low-rank changes by the name of the weight that they are added to.
        replaced: whole tensors that stand in for the model's own before the changes are added; PEFT has none.
        sha256: identity: SHA-256 over the names and values of all that it changes.
    """

    name: str
    source: str
    changes: Mapping[str, LowRank] = field(default_factory=dict)
    replaced: Mapping[str, Tensor] = field(default_factory=dict)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        tensors = {f"replaced.{name}": tensor for name, tensor in self.replaced.items()}
        for name, change in self.changes.items():
            tensors[f"down.{name}"], tensors[f"up.{name}"] = change.down, change.up
            tensors[f"scale.{name}"] = torch.tensor(change.scale, dtype=torch.float64)
        object.__setattr__(self, "sha256", tensors_sha256(tensors))

    def check(self, state: Mapping[str, Tensor]) -> None:
        """Raise WeightsError unless all that the adapter changes is in `state` and of the same shape."""
        shapes = {name: tensor.shape for name, tensor in self.replaced.items()}
        shapes |= {name: change.shape for name, change in self.changes.items()}
        for name, shape in shapes.items():
            if name not in state:
                raise WeightsError(f"{self.source} changes {name}, which the model does not have")
            if state[name].shape != shape:
                raise WeightsError(
                    f"{self.source} was made for another model: {name} is {tuple(shape)} in it and "
                    f"{tuple(state[name].shape)} in the model"
                )

    def merge(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`state` with the changes made; what has a change is float32, the rest is as it was.

        Raises:
            WeightsError: the adapter does not fit the model.
        """
        self.check(state)
        merged = dict(state) | dict(self.replaced)
        for name, change in self.changes.items():
            merged[name] = merged[name].float() + change.delta
        return merged


NONE = Adapter("none", "unmodified Whisper")


def load_adapter(adapter: str | Path, checkpoint: Checkpoint) -> Adapter:
    """Find and read an adapter, and see that it fits.

    Args:
        adapter: "default" for the one shipped for this model (unmodified Whisper where there is none), "none"
            for unmodified Whisper, the name of a shipped one, a folder in PEFT's format, or a WhisperRT file.
        checkpoint: the model that it is for.

    Raises:
        WeightsError: not found, damaged, or made for another model.
    """
    found = _find(str(adapter), checkpoint)
    found.check(checkpoint.state)
    return found


def _find(name: str, checkpoint: Checkpoint) -> Adapter:
    if name == "none":
        return NONE
    if name == "default":
        if checkpoint.name not in SHIPPED:
            log.warning(
                "no adapter is shipped for %s: unmodified Whisper will run in blocks", checkpoint.name
            )
            return Adapter("none", f"unmodified Whisper (no adapter is shipped for {checkpoint.name})")
        name = SHIPPED[checkpoint.name]
    if name in SHIPPED.values():
        with resources.as_file(resources.files("voicewire.asr") / "shipped" / name) as folder:
            return Adapter(name, f"the shipped adapter {name}", read_peft(folder))
    path = Path(name).expanduser()
    if path.is_dir():
        return Adapter(path.name, str(path), read_peft(path))
    if path.is_file():
        return Adapter(path.name, str(path), *read_whisperrt(path, checkpoint.dims))
    raise WeightsError(
        f"there is no adapter at {path}: give a folder with {CONFIG_FILE} and {TENSORS_FILE}, a WhisperRT "
        f"checkpoint, 'default', 'none' or one of {', '.join(sorted(SHIPPED.values()))}"
    )
