"""Adapters: merged as their formats mean it, refused where they do not fit."""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import linear
from whisper.model import ModelDimensions, Whisper

from voicewire.asr.adapters import NONE, SHIPPED, load_adapter
from voicewire.asr.checkpoint import Checkpoint, tensors_sha256
from voicewire.asr.errors import WeightsError
from voicewire.asr.low_rank import LowRank
from voicewire.asr.peft_format import CONFIG_FILE, TENSORS_FILE, read_peft
from voicewire.asr.weights import load_checkpoint

SMALL = ModelDimensions(8, 12, 64, 1, 2, 51864, 10, 64, 1, 2)
RANK = 4
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": 8,
    "target_modules": ["query", "value", "mlp.0"],
    "bias": "none",
}
MODULES = ["encoder.blocks.0.attn.query", "decoder.blocks.1.cross_attn.value", "decoder.blocks.0.mlp.0"]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def small() -> Checkpoint:
    torch.manual_seed(0)
    model = Whisper(SMALL)
    nn.init.normal_(model.decoder.positional_embedding)  # openai-whisper leaves it as the memory was
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    return Checkpoint(SMALL, state, "a test", tensors_sha256(state), "0" * 64, "custom")


def factors(small: Checkpoint, modules: list[str] = MODULES, rank: int = RANK) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for module in modules:
        outputs, inputs = small.state[f"{module}.weight"].shape
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator)
    return tensors


@pytest.fixture
def write(tmp_path: Path, small: Checkpoint) -> Write:
    def to_folder(tensors: dict[str, Tensor] | None = None, **changes: object) -> Path:
        save_file(factors(small) if tensors is None else tensors, tmp_path / TENSORS_FILE)
        (tmp_path / CONFIG_FILE).write_text(json.dumps(CONFIG | changes))
        return tmp_path

    return to_folder


# PEFT


@given(
    rank=st.integers(1, 16), inputs=st.integers(1, 40), outputs=st.integers(1, 40), seed=st.integers(0, 99)
)
@settings(max_examples=50, deadline=None)
def test_merging_is_what_the_two_thin_products_would_do(
    rank: int, inputs: int, outputs: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, inputs, generator=generator)
    up = torch.randn(outputs, rank, generator=generator)
    weight = torch.randn(outputs, inputs, generator=generator)
    x = torch.randn(7, inputs, generator=generator)
    change = LowRank(down, up, 0.5)
    beside = linear(x, weight) + linear(linear(x, down), up) * 0.5
    torch.testing.assert_close(linear(x, weight + change.delta), beside, rtol=1e-4, atol=1e-4)


def test_an_adapter_changes_its_layers_and_no_other(write: Write, small: Checkpoint) -> None:
    adapter = load_adapter(write(), small)
    merged = adapter.merge(small.state)
    tensors = factors(small)
    assert merged.keys() == small.state.keys()
    for name, tensor in merged.items():
        module = name.removesuffix(".weight")
        if module in MODULES:
            down = tensors[f"base_model.model.{module}.lora_A.weight"]
            up = tensors[f"base_model.model.{module}.lora_B.weight"]
            expected = small.state[name].float() + 2.0 * up @ down  # alpha 8 / rank 4
            assert tensor.dtype == torch.float32  # the model's own float16 must not round the sum
            torch.testing.assert_close(tensor, expected)
        else:
            assert tensor is small.state[name]


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 2.0),
        ({"lora_alpha": 1}, 0.25),
        ({"use_rslora": True}, 4.0),
        ({"alpha_pattern": {"attn.query": 2}}, 0.5),
        ({"target_modules": r".*\.(query|value|mlp\.0)"}, 2.0),
        ({"target_modules": "all-linear"}, 2.0),
        ({"target_modules": MODULES}, 2.0),
    ],
)
def test_the_scale_is_as_configured(write: Write, changes: dict[str, object], scale: float) -> None:
    changes_read = read_peft(write(**changes))
    assert changes_read["encoder.blocks.0.attn.query.weight"].scale == pytest.approx(scale)
    others = 2.0 if "alpha_pattern" in changes else scale
    assert changes_read["decoder.blocks.0.mlp.0.weight"].scale == pytest.approx(others)


def test_a_layer_may_have_a_rank_of_its_own(write: Write, small: Checkpoint) -> None:
    tensors = factors(small, MODULES[1:]) | factors(small, MODULES[:1], rank=2)
    adapter = read_peft(write(tensors, rank_pattern={"query": 2}))
    assert adapter["encoder.blocks.0.attn.query.weight"].scale == 4.0
    with pytest.raises(WeightsError, match="has rank 2"):
        read_peft(write(tensors))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "only plain LoRA"),
        ({"modules_to_save": ["proj"]}, "modules_to_save"),
        ({"r": 0}, "rank below 1"),
        ({"r": "many"}, "no configuration"),
        ({"r": 8}, "has rank 4"),
        ({"target_modules": ["query", "value"]}, "does not account for"),
        ({"target_modules": None}, "no configuration"),
    ],
)
def test_what_cannot_be_merged_is_refused(write: Write, changes: dict[str, object], match: str) -> None:
    with pytest.raises(WeightsError, match=match):
        read_peft(write(**changes))


def test_every_tensor_must_be_used(write: Write, small: Checkpoint) -> None:
    whole = factors(small)
    first = "base_model.model.encoder.blocks.0.attn.query"
    without = {name: tensor for name, tensor in whole.items() if name != f"{first}.lora_B.weight"}
    for tensors, match in (
        (without, "only one of the two factors"),
        (whole | {"extra.weight": torch.zeros(1)}, "does not account for"),
        (whole | {f"{first}.lora_B.weight": torch.zeros(64, 3)}, "do not multiply"),
        (whole | {f"{first}.lora_A.weight": torch.zeros(4, 64, 1)}, "do not multiply"),
        ({}, "no tensors"),
    ):
        with pytest.raises(WeightsError, match=match):
            load_adapter(write(tensors), small)


def test_an_adapter_of_another_model_does_not_fit(write: Write, small: Checkpoint) -> None:
    far = {
        "base_model.model.encoder.blocks.7.attn.query.lora_A.weight": torch.zeros(RANK, 64),
        "base_model.model.encoder.blocks.7.attn.query.lora_B.weight": torch.zeros(64, RANK),
    }
    with pytest.raises(WeightsError, match="which the model does not have"):
        load_adapter(write(far), small)
    wide = {name.replace("7", "1"): torch.zeros(2 * tensor.shape[0], 64) for name, tensor in far.items()}
    wide["base_model.model.encoder.blocks.1.attn.query.lora_B.weight"] = torch.zeros(128, 8)
    with pytest.raises(WeightsError, match="made for another model"):
        load_adapter(write(wide, r=8), small)


def test_damaged_files_are_named(write: Write, tmp_path: Path, small: Checkpoint) -> None:
    folder = write()
    (folder / TENSORS_FILE).write_bytes((folder / TENSORS_FILE).read_bytes()[:-9])
    with pytest.raises(WeightsError, match=TENSORS_FILE):
        load_adapter(folder, small)
    for text in ("{", "[]", "null", "{}"):
        (folder / CONFIG_FILE).write_text(text)
        with pytest.raises(WeightsError, match=CONFIG_FILE):
            load_adapter(folder, small)
    (folder / CONFIG_FILE).unlink()
    with pytest.raises(WeightsError, match=CONFIG_FILE):
        load_adapter(folder, small)
    with pytest.raises(WeightsError, match="no adapter at"):
        load_adapter(tmp_path / "absent", small)


def test_identity_follows_the_tensors_and_the_scale(write: Write, small: Checkpoint) -> None:
    one = load_adapter(write(), small)
    assert load_adapter(write(), small).sha256 == one.sha256
    assert load_adapter(write(lora_alpha=4), small).sha256 != one.sha256
    tensors = factors(small)
    next(iter(tensors.values()))[0, 0] += 1e-3
    assert load_adapter(write(tensors), small).sha256 != one.sha256
    assert NONE.sha256 not in (one.sha256, "")


# The shipped one, and none


def test_the_shipped_adapter_is_the_default_for_base() -> None:
    base = load_checkpoint("base")
    adapter = load_adapter("default", base)
    assert (adapter.name, len(adapter.changes)) == (SHIPPED["base"], 96)
    assert load_adapter(adapter.name, base).sha256 == adapter.sha256
    merged = adapter.merge(base.state)
    Whisper(base.dims).load_state_dict(merged)
    changed = {
        name for name, tensor in merged.items() if not torch.equal(tensor, base.state[name].to(tensor.dtype))
    }
    assert changed == adapter.changes.keys()


def test_a_model_without_an_adapter_is_left_as_it_is(small: Checkpoint) -> None:
    assert load_adapter("none", small) is NONE
    adapter = load_adapter("default", small)
    assert (adapter.name, adapter.sha256) == ("none", NONE.sha256)
    assert "custom" in adapter.source
    assert adapter.merge(small.state) == small.state
    with pytest.raises(WeightsError, match=r"which the model does not have|made for another model"):
        load_adapter(SHIPPED["base"], small)


# WhisperRT


class LoraLinear(nn.Module):
    """A linear layer with the names and the arithmetic of WhisperRT's checkpoints."""

    def __init__(self, base: nn.Module, rank: int) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_layer = nn.Module()
        outputs, inputs = base.weight.shape
        self.lora_layer.lora_A = nn.Parameter(torch.randn(inputs, rank) * 0.2)
        self.lora_layer.lora_B = nn.Parameter(torch.randn(rank, outputs) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        beside: Tensor = x @ self.lora_layer.lora_A @ self.lora_layer.lora_B
        return self.base_layer(x) + beside


@pytest.fixture
def causal(small: Checkpoint) -> Whisper:
    """A model whose attentions carry LoRA layers, its base a little different from `small`."""
    torch.manual_seed(2)
    model = Whisper(SMALL)
    model.load_state_dict(small.state)
    model.encoder.conv1.bias.data += 1.0
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        for attention in (block.attn, block.cross_attn):
            for name in ("query", "key", "value", "out") if attention is not None else ():
                setattr(attention, name, LoraLinear(getattr(attention, name), RANK))
    return model.eval()


def save_whisperrt(path: Path, state: dict[str, Tensor], dims: object = None) -> Path:
    cfg = {"gran": 15, "rank": RANK, "extra_gran_blocks": 1}
    torch.save({"dims": asdict(SMALL) if dims is None else dims, "cfg": cfg, "state_dict": state}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_whisperrt_checkpoint_gives_its_own_model(
    causal: Whisper, small: Checkpoint, tmp_path: Path, prefix: str
) -> None:
    saved = {prefix + name: tensor for name, tensor in causal.state_dict().items()}
    path = save_whisperrt(tmp_path / "causal.ckpt", saved | {"decoder_advisor.weight": torch.zeros(3)})
    adapter = load_adapter(path, small)
    assert len(adapter.changes) == 2 * 4 + 2 * 8
    merged = Whisper(SMALL).eval()
    merged.load_state_dict(adapter.merge(small.state))
    mel, tokens = torch.randn(1, 8, 24), torch.tensor([[3, 7, 11]])
    with torch.inference_mode():
        expected, got = causal(mel, tokens), merged(mel, tokens)
        plain = Whisper(SMALL).eval()
        plain.load_state_dict(small.state)
        assert (expected - plain(mel, tokens)).abs().max() > 0.1  # the adapter does something
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_whisperrt_checkpoint_must_be_whole_and_fit(
    causal: Whisper, small: Checkpoint, tmp_path: Path
) -> None:
    state = causal.state_dict()
    path = tmp_path / "causal.ckpt"
    key = "encoder.blocks.0.attn.query.lora_layer.lora_B"
    half = {name: tensor for name, tensor in state.items() if name != key}
    no_factors = {name: tensor for name, tensor in state.items() if "lora_layer" not in name}
    for saved, dims, match in (
        (half, None, "two factors"),
        (no_factors, None, "no LoRA layers"),
        (state | {"encoder.extra": torch.zeros(1)}, None, "which the model does not have"),
        (state | {key: torch.zeros(RANK, 3)}, None, "made for another model"),
        (state | {key: torch.zeros(RANK)}, None, "two factors"),
        (state | {"encoder.step": 3}, None, "is no tensor"),
        (state, asdict(replace(SMALL, n_mels=80)), "other dimensions"),
    ):
        with pytest.raises(WeightsError, match=match):
            load_adapter(save_whisperrt(path, saved, dims), small)


class Trap:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch, on a pickle that is no checkpoint
def test_a_checkpoint_that_carries_code_is_not_run(small: Checkpoint, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"dims": asdict(SMALL), "cfg": Trap(sprung), "state_dict": {}}, tmp_path / "trap.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Trap(sprung)))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "empty.ckpt").touch()
    for name in ("trap", "plain", "text", "empty"):
        with pytest.raises(WeightsError, match=r"is not opened|cannot be read|no WhisperRT checkpoint"):
            load_adapter(tmp_path / f"{name}.ckpt", small)
    assert not sprung.exists()


def test_the_shipped_files_are_what_the_card_says() -> None:
    folder = Path(__file__).resolve().parent.parent / "asr" / "shipped" / SHIPPED["base"]
    card = (folder / "README.md").read_text()
    assert "CC BY 4.0" in card
    assert "../" not in card
    tensors = load_file(folder / TENSORS_FILE)
    assert sum(tensor.numel() for tensor in tensors.values()) == pytest.approx(4.3e6, rel=0.02)
