"""Attention to the positions of a slot that are in use.

How many those are changes from look to look, and oneDNN, which multiplies on a CPU, compiles a program for every
shape that it meets: that takes 0.5 ms, where the product itself takes 0.04. So products run over multiples of 64
positions, and those that are not in use get no weight: a few programs do for streams of any length.
"""

import torch
from torch import Tensor

POSITIONS = 64  # products run over multiples of it, or over all that a slot has


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, used: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention to the first `used` positions of a slot.

    Args:
        queries: shape = (heads, rows, dim)
        keys, values: all of the slot's, (heads, dim, positions) and (heads, positions, dim); values behind those
            in use must be finite.
        mask: added to the scores, (rows, used)

    Returns:
        The mixed values, shape = (rows, heads * dim), and the weights, shape = (heads, rows, used).
    """
    width = min(-(-used // POSITIONS) * POSITIONS, keys.shape[-1])
    scores = queries @ keys[:, :, :width]
    scores[:, :, used:] = float("-inf")
    if mask is not None:
        scores[:, :, :used] += mask
    weights = torch.softmax(scores, -1)
    return (weights @ values[:, :width]).transpose(0, 1).flatten(1), weights[:, :, :used]
