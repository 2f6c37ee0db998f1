"""Adapters as PEFT saves them: `adapter_config.json` beside `adapter_model.safetensors`.

Module names are openai-whisper's. What the configuration asks for and is not plain LoRA is refused, rather than
merged into something that its makers did not mean.
"""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from voicewire.asr.errors import WeightsError
from voicewire.asr.low_rank import LowRank

CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "adapter_model.safetensors"

_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
# Settings that change what the tensors mean, with the values that leave it as it is merged here.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "fan_in_fan_out": (None, False),
    "modules_to_save": (None, []),
    "layer_replication": (None, []),
}


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The part of PEFT's configuration that merging needs."""

    rank: int
    alpha: float
    targets: str | tuple[str, ...]
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    rank_stabilised: bool

    def is_target(self, module: str) -> bool:
        """Whether `module` is one of target_modules: a regular expression, or names that modules end in."""
        if isinstance(self.targets, str):
            return self.targets == "all-linear" or re.fullmatch(self.targets, module) is not None
        return any(module == target or module.endswith(f".{target}") for target in self.targets)

    def rank_of(self, module: str) -> int:
        return self.rank_pattern.get(_key_for(self.rank_pattern, module), self.rank)

    def scale_of(self, module: str) -> float:
        alpha = self.alpha_pattern.get(_key_for(self.alpha_pattern, module), self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def _key_for(patterns: dict[str, Any], module: str) -> str:
    """The key of a pattern table that matches the end of `module`, or what is not in it."""
    return next((key for key in patterns if re.fullmatch(rf"(.*\.)?({key})", module)), "")


def read_config(file: Path) -> PeftConfig:
    """Raises WeightsError where the file is missing, damaged, or asks for more than plain LoRA."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        kind = saved.get("peft_type")
        targets = saved["target_modules"]
        config = PeftConfig(
            rank=int(saved["r"]),
            alpha=float(saved["lora_alpha"]),
            targets=targets if isinstance(targets, str) else tuple(str(target) for target in targets),
            rank_pattern={str(key): int(value) for key, value in (saved.get("rank_pattern") or {}).items()},
            alpha_pattern={
                str(key): float(value) for key, value in (saved.get("alpha_pattern") or {}).items()
            },
            rank_stabilised=bool(saved.get("use_rslora", False)),
        )
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file} is no configuration of PEFT's ({error!r}): save the adapter again"
        ) from None
    if kind != "LORA":
        raise WeightsError(f"{file} describes an adapter of the kind {kind!r}: only LORA can be merged")
    for name, plain in _PLAIN.items():
        if saved.get(name) not in plain:
            raise WeightsError(f"{file} has {name} = {saved[name]!r}: only plain LoRA can be merged")
    if config.rank < 1 or any(rank < 1 for rank in config.rank_pattern.values()):
        raise WeightsError(f"{file} has a rank below 1: save the adapter again")
    return config


def read_peft(folder: Path) -> dict[str, LowRank]:
    """The changes of an adapter by the name of the weight that they are added to.

    Raises:
        WeightsError: a file is missing or damaged, or a tensor is left over or contradicts the configuration.
    """
    config = read_config(folder / CONFIG_FILE)
    file = folder / TENSORS_FILE
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file} cannot be read as safetensors ({error}): fetch the adapter again"
        ) from None
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or not config.is_target(match["module"]):
            raise WeightsError(f"{file} holds {name}, which {CONFIG_FILE} does not account for")
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    if not sides:
        raise WeightsError(f"{file} holds no tensors: save the adapter again")
    return {f"{module}.weight": _pair(module, pair, config, file) for module, pair in sides.items()}


def _pair(module: str, pair: dict[str, Tensor], config: PeftConfig, file: Path) -> LowRank:
    if pair.keys() != {"A", "B"}:
        raise WeightsError(f"{file} has only one of the two factors of {module}: it is damaged")
    if pair["A"].shape[0] != config.rank_of(module):
        raise WeightsError(
            f"{file}: {module} has rank {pair['A'].shape[0]} and {CONFIG_FILE} says {config.rank_of(module)}"
        )
    return LowRank(pair["A"], pair["B"], config.scale_of(module))


def write_peft(folder: Path, changes: dict[str, LowRank], base: str, targets: tuple[str, ...]) -> None:
    """Write an adapter as PEFT does, in float16.

    Args:
        folder: made where it is missing.
        changes: by the name of the weight, all of one rank.
        base: what it is for, in words.
        targets: what the adapted modules' names end in.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (rank,) = {change.down.shape[0] for change in changes.values()}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(targets),
        "inference_mode": True,
    }
    tensors = {}
    for name, change in changes.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = change.down.half().contiguous()
        tensors[f"{module}.lora_B.weight"] = (change.up * change.scale).half().contiguous()
    # A server may be loading what stood here before.
    save_file(tensors, folder / f"{TENSORS_FILE}.part")
    os.replace(folder / f"{TENSORS_FILE}.part", folder / TENSORS_FILE)
    (folder / f"{CONFIG_FILE}.part").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    os.replace(folder / f"{CONFIG_FILE}.part", folder / CONFIG_FILE)
