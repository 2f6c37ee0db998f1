"""Attention under a block's mask, a few hundred queries at a time, against the plain one."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from voicewire.asr.train import attention
from voicewire.asr.train.attention import BlockAttention, block_groups, whole_groups

HEADS, DIM = 2, 3
ends_of_blocks = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(
    lambda lengths: torch.tensor(lengths).cumsum(0).tolist()
)


def plain(q: Tensor, k: Tensor, v: Tensor, ends: list[int]) -> Tensor:
    """Each frame sees all up to its own block's end, written to be obviously right."""
    frames = q.shape[2]
    limits = [next(end for end in ends if end > frame) for frame in range(frames)]
    hidden = torch.arange(frames) >= torch.tensor(limits)[:, None]
    return torch.softmax((q @ k.transpose(2, 3)).masked_fill(hidden, float("-inf")), -1) @ v


def random_qkv(frames: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(frames)
    shape = (2, HEADS, frames, DIM)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]


@given(ends=ends_of_blocks, queries=st.integers(1, 8))
def test_it_is_plain_masked_attention_forwards_and_backwards(ends: list[int], queries: int) -> None:
    """Whatever the blocks are, and however they fall into groups."""
    inputs = random_qkv(ends[-1])
    with patch.object(attention, "QUERIES", queries):
        groups = block_groups(ends, torch.float64, torch.device("cpu"))
    assert [group.start for group in groups[1:]] == [group.end for group in groups[:-1]]
    assert (groups[0].start, groups[-1].end) == (0, ends[-1])
    mixed, wanted = BlockAttention.apply(*inputs, groups), plain(*inputs, ends)
    torch.testing.assert_close(mixed, wanted)
    upper = torch.randn_like(wanted)
    for ours, autograds in zip(
        torch.autograd.grad(mixed, inputs, upper), torch.autograd.grad(wanted, inputs, upper), strict=True
    ):
        torch.testing.assert_close(ours, autograds)


@pytest.mark.parametrize("ends", [[7], [1, 2, 3], [2, 5, 6]])
def test_its_gradient_is_that_of_small_steps(ends: list[int]) -> None:
    with patch.object(attention, "QUERIES", 2):
        groups = block_groups(ends, torch.float64, torch.device("cpu"))
    assert torch.autograd.gradcheck(lambda *qkv: BlockAttention.apply(*qkv, groups), random_qkv(ends[-1]))


def test_whole_groups_hide_nothing() -> None:
    inputs = random_qkv(11)
    with patch.object(attention, "QUERIES", 4):
        groups = whole_groups(11)
    assert len(groups) == 3
    torch.testing.assert_close(BlockAttention.apply(*inputs, groups), plain(*inputs, [11]))
