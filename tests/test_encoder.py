"""The streaming front end and encoder equal their offline twins, for any cutting and any company in the batch."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voicewire.asr import masked
from voicewire.asr.encoder import Block, BlockEncoder, ConvState
from voicewire.asr.mel import MelState, StreamingLogMel, log_mel
from voicewire.asr.model import CausalWhisper
from voicewire.asr.slots import Slots

RATE = 16_000


@pytest.fixture(scope="module")
def encoder(model: CausalWhisper) -> BlockEncoder:
    return BlockEncoder(model, Slots.allocate(model.dims, 4, model.dtype, model.device))


@pytest.fixture(scope="module")
def exact_encoder(model: CausalWhisper) -> BlockEncoder:
    """In float64, where a difference that is more than rounding shows."""
    exact = copy.deepcopy(model).double()
    return BlockEncoder(exact, Slots.allocate(exact.dims, 4, exact.dtype, exact.device))


def cut(samples: torch.Tensor, places: list[int]) -> list[torch.Tensor]:
    edges = [0, *sorted(place % (len(samples) + 1) for place in places), len(samples)]
    return [samples[a:b] for a, b in itertools.pairwise(edges)]


@pytest.fixture(scope="module")
def speech(spoken: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(spoken[: 4 * RATE])


@given(places=st.lists(st.integers(0, 10**6), max_size=12))
@settings(max_examples=25, deadline=None)
def test_mel_is_the_same_bit_for_bit_however_the_input_is_cut(
    speech: torch.Tensor, places: list[int]
) -> None:
    mel, whole, state = StreamingLogMel(), MelState(), MelState()
    once = mel.push(whole, speech)
    pieces = torch.cat([mel.push(state, piece) for piece in cut(speech, places)])
    assert torch.equal(once, pieces)
    assert torch.equal(whole.samples, state.samples)


def test_mel_equals_the_offline_spectrogram(speech: torch.Tensor) -> None:
    streamed = StreamingLogMel().push(MelState(), speech)
    offline = log_mel(speech)
    assert len(streamed) >= len(offline) - 2
    assert (streamed - offline[: len(streamed)]).abs().max() < 1e-5


@given(places=st.lists(st.integers(0, 10**6), max_size=8))
@settings(max_examples=10, deadline=None)
def test_convolutions_do_not_see_the_cuts(
    encoder: BlockEncoder, speech: torch.Tensor, places: list[int]
) -> None:
    frames = log_mel(speech)
    state = ConvState()
    streamed = torch.cat([encoder.convolve(state, piece) for piece in cut(frames, places)])
    offline = masked.convolve(encoder.model, frames)
    assert len(streamed) in (len(offline), len(offline) - 1)
    assert (streamed - offline[: len(streamed)]).abs().max() < 1e-4


@pytest.mark.parametrize("streams", [1, 4])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_any_blocks_in_any_company_equal_the_masked_encoder(
    exact_encoder: BlockEncoder, speech: torch.Tensor, data: st.DataObject, streams: int
) -> None:
    """Streams of one batch start at different moments of the speech and stand at different positions; between
    two commits a provisional tail is encoded and thrown away; some streams take no part in a step."""
    encoder, slots = exact_encoder, exact_encoder.slots
    plans = [data.draw(st.lists(st.integers(1, 33), min_size=1, max_size=4)) for _ in range(streams)]
    fronts = [lay_speech(encoder, slot, speech[slot * 7001 :], sum(plan)) for slot, plan in enumerate(plans)]
    out: list[list[torch.Tensor]] = [[] for _ in plans]
    done = [0] * streams
    while any(plans):
        able = [slot for slot in range(streams) if plans[slot]]
        part = data.draw(st.lists(st.sampled_from(able), min_size=1, unique=True))
        bystanders = [slot for slot in range(streams) if slot not in part]
        before = [slots.save(slot, 200, 8, 200) for slot in bystanders]
        encoder.encode([Block(s, done[s], done[s] + data.draw(st.integers(1, plans[s][0]))) for s in part])
        commits = [Block(s, done[s], done[s] + plans[s].pop(0)) for s in part]
        rows = encoder.encode(commits).split([block.end - block.start for block in commits])
        for block, row in zip(commits, rows, strict=True):
            out[block.slot].append(row)
            done[block.slot] = block.end
        for slot, saved in zip(bystanders, before, strict=True):
            now = slots.save(slot, 200, 8, 200)
            assert all(torch.equal(saved[name], now[name]) for name in saved), "a bystander was touched"
    for slot in range(streams):
        ends = np.cumsum([len(row) for row in out[slot]]).tolist()
        offline = masked.encode(encoder.model, fronts[slot], ends)
        assert (torch.cat(out[slot]) - offline).abs().max() < 1e-9


@pytest.mark.parametrize(("block", "tail"), [(60, 15), (15, 15), (30, 10), (55, 5)])
def test_float32_stays_within_a_ten_thousandth(
    encoder: BlockEncoder, spoken: np.ndarray, block: int, tail: int
) -> None:
    """Four streams in a batch, 6 s of different speech each, with tails between the commits."""
    count = 300
    fronts = [lay_speech(encoder, s, torch.from_numpy(spoken[s * 150_000 :]), count) for s in range(4)]
    ends = [*range(block, count, block), count]
    out = []
    for start, end in zip([0, *ends], ends, strict=False):
        for at in range(start + tail, end, tail):
            encoder.encode([Block(slot, start, at) for slot in range(4)])
        out.append(encoder.encode([Block(slot, start, end) for slot in range(4)]).view(4, end - start, -1))
    streamed = torch.cat(out, 1)
    for slot in range(4):
        offline = masked.encode(encoder.model, fronts[slot], ends)
        wrong = (streamed[slot] - offline).abs()
        # A few channels of Whisper reach 16 and carry float32's rounding with them; float64 has none (above).
        assert wrong.max() < 1e-4 * offline.abs().max()
        assert wrong.flatten().kthvalue(int(0.9999 * wrong.numel())).values < 1e-4


def lay_speech(encoder: BlockEncoder, slot: int, speech: torch.Tensor, count: int) -> torch.Tensor:
    """Puts `count` frames of the speech into a slot and returns them."""
    frames = masked.convolve(encoder.model, log_mel(speech[: 320 * count]))[:count]
    encoder.slots.front[slot, :count] = frames
    return frames
