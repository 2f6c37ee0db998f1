"""Self-attention in which a frame sees all frames up to its block's end, forwards and backwards, a few hundred
queries at a time.

As one autograd function it keeps nothing but the weights of each group of queries; left to autograd, every slice
would cost a gradient of full size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

QUERIES = 240  # of a group, about: their scores still lie in the processor's cache


@dataclass(frozen=True)
class Group:
    """Queries `start` to `end` see the first `keys` keys, but for those that the mask hides.

    Attributes:
        mask: additive, shape = (queries, keys); None where nothing is hidden.
    """

    start: int
    end: int
    keys: int
    mask: Tensor | None = None


def block_groups(ends: list[int], dtype: torch.dtype, device: torch.device) -> list[Group]:
    """Groups of whole blocks; `ends` are the blocks' ends in frames."""
    lengths = torch.diff(torch.tensor([0, *ends]))
    limits = torch.repeat_interleave(torch.tensor(ends), lengths)
    groups = []
    start = 0
    for end in ends:
        if end - start < QUERIES and end != ends[-1]:
            continue
        hidden = torch.arange(end) >= limits[start:end, None]
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, float("-inf"))
        groups.append(Group(start, end, end, mask.to(device) if hidden.any() else None))
        start = end
    return groups


def whole_groups(frames: int) -> list[Group]:
    """Every query sees every key: Whisper as it is."""
    return [Group(start, min(start + QUERIES, frames), frames) for start in range(0, frames, QUERIES)]


class BlockAttention(torch.autograd.Function):
    """q, k, v, shape = (batch, heads, frames, dim), q scaled already -> mixed values of the same shape."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, groups: list[Group]) -> Tensor:
        mixed = torch.empty_like(q)
        kept = []
        for group in groups:
            scores = q[:, :, group.start : group.end] @ k[:, :, : group.keys].transpose(2, 3)
            if group.mask is not None:
                scores += group.mask
            weights = torch.softmax(scores, -1)
            mixed[:, :, group.start : group.end] = weights @ v[:, :, : group.keys]
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.groups = groups
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (upper,) = gradients
        q, k, v, *kept = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for group, weights in zip(ctx.groups, kept, strict=True):
            queries, keys = slice(group.start, group.end), slice(group.keys)
            part = upper[:, :, queries]
            dv[:, :, keys] += weights.transpose(2, 3) @ part
            pulls = part @ v[:, :, keys].transpose(2, 3)
            scores = torch._softmax_backward_data(pulls, weights, -1, weights.dtype)
            dq[:, :, queries] = scores @ k[:, :, keys]
            dk[:, :, keys] += scores.transpose(2, 3) @ q[:, :, queries]
        return dq, dk, dv, None
