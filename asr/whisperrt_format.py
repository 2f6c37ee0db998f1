"""Checkpoints of CarelessWhisper and WhisperRT (arXiv 2508.12301), read as adapters.

Such a file holds a whole model, `{"dims", "cfg", "state_dict"}`. A linear layer of an attention is saved as
`NAME.base_layer.weight` and `.bias` with `NAME.lora_layer.lora_A` (inputs, rank) and `lora_B` (rank, outputs): the
transposes of PEFT's, so the merged weight is W + (A B)^T, with scale 1. Written from the layout alone.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from whisper.model import ModelDimensions

from voicewire.asr.errors import WeightsError
from voicewire.asr.low_rank import LowRank

_FACTOR = re.compile(r"(?P<module>.+)\.lora_layer\.lora_(?P<side>[AB])")
_SCALE = 1.0
# Parts of the training programme that are saved along and are no part of the model.
_OTHER_PARTS = ("decoder_advisor.", "encoder.mask", "decoder.mask", "alignment_heads")


def read_whisperrt(path: Path, dims: ModelDimensions) -> tuple[dict[str, LowRank], dict[str, Tensor]]:
    """Read a checkpoint for a model of dimensions `dims`.

    Returns:
        The low-rank changes and the whole tensors (the model that they were trained on), both by
        openai-whisper's names.

    Raises:
        WeightsError: not such a file, damaged, or of a model with other dimensions.
    """
    saved = _load(path)
    if (
        not isinstance(saved, Mapping)
        or not isinstance(saved.get("state_dict"), Mapping)
        or "dims" not in saved
    ):
        raise WeightsError(f"{path} is no WhisperRT checkpoint: it has no dims and state_dict")
    if saved["dims"] != asdict(dims):
        raise WeightsError(f"{path} was made for a model of other dimensions: {saved['dims']}")
    state = _tensors(saved["state_dict"], path)
    sides: dict[str, dict[str, Tensor]] = {}
    replaced: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _FACTOR.fullmatch(name)
        if match is not None:
            sides.setdefault(match["module"], {})[match["side"]] = tensor
        elif not name.startswith(_OTHER_PARTS):
            replaced[name.replace(".base_layer.", ".")] = tensor
    if not sides:
        raise WeightsError(f"{path} has no LoRA layers: it is no WhisperRT checkpoint")
    return {f"{module}.weight": _pair(module, pair, path) for module, pair in sides.items()}, replaced


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # The message of the library advises to switch the protection off, so it is not passed on.
        raise WeightsError(
            f"{path} is no checkpoint of plain tensors and settings, and is not opened: if it is yours, save "
            "dims and cfg in it as plain dictionaries"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} cannot be read as a checkpoint ({error}): fetch it again") from None


def _tensors(saved: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors without the prefix that a Lightning module of the training programme puts before them."""
    state = {}
    for name, tensor in saved.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{path}: {name!r} in the state_dict is no tensor: the checkpoint is damaged")
        state[name.removeprefix("model.")] = tensor
    return state


def _pair(module: str, pair: dict[str, Tensor], path: Path) -> LowRank:
    if pair.keys() != {"A", "B"} or any(factor.ndim != 2 for factor in pair.values()):
        raise WeightsError(f"{path} does not have the two factors of {module}: it is damaged")
    return LowRank(pair["A"].T, pair["B"].T, _SCALE)
