"""The network as it is trained, against the one that runs: masked.py over the merged model."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from voicewire.asr import masked
from voicewire.asr.adapters import Adapter, load_adapter
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import SettingsError
from voicewire.asr.low_rank import LowRank
from voicewire.asr.model import CausalWhisper
from voicewire.asr.peft_format import read_peft, write_peft
from voicewire.asr.train.attention import block_groups, whole_groups
from voicewire.asr.train.network import AdaptedWhisper
from voicewire.asr.train.positions import Kind, Row, draw_blocks, draw_rows, stack
from voicewire.asr.train.settings import ALL_LINEAR
from voicewire.asr.weights import load_checkpoint

FRAMES = 500  # more than one group of queries
RANK = 4


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("tiny.en", download=False)


@pytest.fixture(scope="module")
def adapted(checkpoint: Checkpoint) -> AdaptedWhisper:
    torch.manual_seed(3)
    model = AdaptedWhisper(checkpoint, ALL_LINEAR, RANK, torch.float64)
    for up in model.up.values():
        torch.nn.init.normal_(up, std=0.05)
    return model


@pytest.fixture(scope="module")
def merged(checkpoint: Checkpoint, adapted: AdaptedWhisper) -> CausalWhisper:
    state = Adapter("a test", "a test", adapted.changes()).merge(checkpoint.state)
    return CausalWhisper.from_state(checkpoint.dims, state, torch.float64)


def some_mel(windows: int) -> Tensor:
    return torch.randn(windows, 2 * FRAMES, 80, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def logits_of_row(
    model: CausalWhisper, row: Row, emits: list[Row], known: list[int], features: Tensor
) -> Tensor:
    """As a stream would come by them: the tokens before, each with what it had heard, then this one."""
    before = [one for one in emits if one.position < row.position]
    visible = [one.visible for one in before] + [row.visible]
    return masked.decode(model, known[: row.position + 1], features, visible)[-1]


@pytest.mark.parametrize("seed", range(4))
def test_a_window_is_what_a_stream_computes(
    adapted: AdaptedWhisper, merged: CausalWhisper, seed: int
) -> None:
    chance = random.Random(seed)
    ends = draw_blocks(FRAMES, chance)
    mel = some_mel(2)
    rows, known = [], []
    for window in range(2):
        tokens = [chance.randrange(50_000) for _ in range(6 * window + 5)]
        due = sorted(chance.uniform(0, FRAMES / 50) for _ in tokens)
        rows.append(draw_rows(3, tokens, due, ends, 50_256, chance, slack_s=0.12, late=0.2))
        known.append([50_257, 50_362, 11, *tokens])
    text = stack(rows, known, FRAMES, torch.float64)
    with torch.no_grad():
        groups = block_groups(ends, torch.float64, adapted.device)
        features, hidden = adapted.run(mel, groups, text)
        assert hidden is not None
        ours = hidden @ adapted.embedding.T
        for window in range(2):
            wanted = masked.encode(merged, masked.convolve(merged, mel[window]), ends)
            torch.testing.assert_close(features[window], wanted, atol=1e-4, rtol=1e-4)
            emits = [row for row in rows[window] if row.kind in (Kind.NONE, Kind.EMIT)]
            copies = [place for place, row in enumerate(rows[window]) if row.kind in (Kind.WAIT, Kind.LATE)]
            for place in [*range(len(emits)), *chance.sample(copies, min(6, len(copies)))]:
                theirs = logits_of_row(merged, rows[window][place], emits, known[window], wanted)
                torch.testing.assert_close(ours[window, place].float(), theirs, atol=1e-3, rtol=1e-3)


def test_the_frozen_model_is_whisper_as_it_is(checkpoint: Checkpoint, adapted: AdaptedWhisper) -> None:
    model = CausalWhisper.from_state(checkpoint.dims, checkpoint.state, torch.float64)
    mel = some_mel(1)
    with torch.no_grad():
        features, _ = adapted.run(mel, whole_groups(FRAMES), None, frozen=True)
        wanted = masked.encode(model, masked.convolve(model, mel[0]), [FRAMES])
    torch.testing.assert_close(features[0], wanted)


def test_a_new_adapter_changes_nothing(checkpoint: Checkpoint) -> None:
    model = AdaptedWhisper(checkpoint, ALL_LINEAR, RANK, torch.float32)
    weights = model.adapted()
    assert weights.keys() == model.frozen.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, model.frozen[name], rtol=0, atol=0)


@pytest.mark.parametrize("wanted", [True, False])
def test_what_is_trained_counts_whether_gradients_are_wanted_or_not(
    adapted: AdaptedWhisper, wanted: bool
) -> None:
    with torch.set_grad_enabled(wanted):
        weights = adapted.adapted()
    changed = {name for name, tensor in weights.items() if not torch.equal(tensor, adapted.frozen[name])}
    assert {"encoder.blocks.0.attention.qkv.weight", "decoder.cross_kv.weight"} <= changed
    assert "decoder.embedding" not in changed


def test_gradients_reach_every_factor(adapted: AdaptedWhisper) -> None:
    rows = [draw_rows(2, [5, 6], [1.0, 2.0], [FRAMES], 9, random.Random(1), slack_s=0.1, late=0.0)]
    text = stack(rows, [[1, 2, 5, 6]], FRAMES, torch.float64)
    groups = block_groups([200, FRAMES], torch.float64, adapted.device)
    features, hidden = adapted.run(some_mel(1), groups, text)
    assert hidden is not None
    (features.square().sum() + hidden.square().sum()).backward()
    missing = [name for name, one in adapted.named_parameters() if one.grad is None or not one.grad.any()]
    adapted.zero_grad(set_to_none=True)
    assert not missing


def test_a_run_may_begin_with_the_shipped_adapter_and_gives_it_back() -> None:
    checkpoint = load_checkpoint("base", download=False)
    shipped = load_adapter("base-en-1", checkpoint)
    model = AdaptedWhisper(checkpoint, ALL_LINEAR, 40)  # its rank is 32
    model.begin_with(dict(shipped.changes))
    changes = model.changes()
    assert changes.keys() == shipped.changes.keys()
    for name, change in shipped.changes.items():
        torch.testing.assert_close(changes[name].delta, change.delta, atol=1e-5, rtol=1e-5)


def test_what_a_run_cannot_begin_with_is_said(checkpoint: Checkpoint, adapted: AdaptedWhisper) -> None:
    higher = AdaptedWhisper(checkpoint, ALL_LINEAR, RANK + 1)
    with pytest.raises(SettingsError, match="rank 5"):
        adapted.begin_with(higher.changes())
    fewer = AdaptedWhisper(checkpoint, ("query",), RANK)
    with pytest.raises(SettingsError, match="targets"):
        fewer.begin_with(adapted.changes())
    with pytest.raises(SettingsError, match="targets"):
        AdaptedWhisper(checkpoint, ("no_such_layer",), RANK)


def test_an_adapter_survives_the_disk(adapted: AdaptedWhisper, tmp_path: Path) -> None:
    changes = {name: replace(change, scale=2.0) for name, change in adapted.changes().items()}
    write_peft(tmp_path / "new", changes, "whisper tiny.en", ALL_LINEAR)
    read = read_peft(tmp_path / "new")
    assert read.keys() == changes.keys()
    for name, change in read.items():
        wanted = LowRank(changes[name].down.half().float(), changes[name].up.half().float(), 2.0)
        torch.testing.assert_close(change.delta, wanted.delta, atol=1e-4, rtol=1e-3)
    left = {file.name for file in (tmp_path / "new").iterdir()}
    assert left == {"adapter_config.json", "adapter_model.safetensors"}
