"""A product with a weight to which low-rank changes were added, and the gradients of those changes alone.

The weight's own gradient, as large as the weight and as dear as the product, is never formed: that of `up @ down`
takes two thin products on each side of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voicewire.asr.model import GeluLinear


@dataclass(frozen=True)
class Change:
    """A low-rank change of some rows of a weight: `scale * up @ down`.

    Attributes:
        rows: which rows, the first and the one after the last.
        down: (rank, inputs), all changes of a weight of the same rank.
        up: (rows, rank)
        scale: what the layout multiplies these rows by.
    """

    rows: tuple[int, int]
    down: Tensor
    up: Tensor
    scale: float


class ChangedLinear(nn.Linear):
    """A linear layer whose weight has changes in it.

    Attributes:
        changes: those that are to get gradients.
    """

    changes: Sequence[Change] = ()

    def forward(self, x: Tensor) -> Tensor:
        return changed_linear(x, self.weight, self.bias, self.changes)


class ChangedGeluLinear(ChangedLinear):
    """The same in the place of a GeluLinear."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(super().forward(x))


def make_changeable(module: nn.Module) -> dict[str, ChangedLinear]:
    """Replaces every linear layer below `module` by a changeable twin; gives these by their names."""
    layers = {}
    for name, child in list(module.named_modules()):
        if isinstance(child, nn.Linear):
            kind = ChangedGeluLinear if isinstance(child, GeluLinear) else ChangedLinear
            with torch.device(child.weight.device):
                twin = kind(child.in_features, child.out_features, bias=child.bias is not None)
            twin.weight, twin.bias = child.weight, child.bias
            module.set_submodule(name, twin)
            layers[name] = twin
    return layers


def changed_linear(x: Tensor, weight: Tensor, bias: Tensor | None, changes: Sequence[Change]) -> Tensor:
    """x, shape = (..., inputs) -> (..., outputs).

    Args:
        weight: (outputs, inputs), the changes already in it; gets no gradient.
        bias: (outputs,), gets none either.
        changes: what was added; their `down` and `up` get gradients.
    """
    if not changes:
        return F.linear(x, weight, bias)
    factors = [factor for change in changes for factor in (change.down, change.up)]
    spans = [(change.rows, change.scale) for change in changes]
    result: Tensor = _ChangedLinear.apply(x, weight, bias, spans, *factors)
    return result


class _ChangedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        spans: list[tuple[tuple[int, int], float]],
        *factors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *factors)
        ctx.spans = spans
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (upper,) = gradients
        x, weight, *factors = ctx.saved_tensors
        downs = torch.cat(factors[0::2]).to(x.dtype)
        rows = x.flatten(0, -2)
        pulls = upper.flatten(0, -2)
        lowered = rows @ downs.T  # (rows, rank of all)
        rank = factors[0].shape[0]
        lifted, ups = [], []
        for index, ((first, last), scale) in enumerate(ctx.spans):
            pull = pulls[:, first:last]
            up = factors[2 * index + 1]
            lifted.append(pull @ (up * scale).to(x.dtype))
            ups.append((pull.T @ lowered[:, index * rank : (index + 1) * rank]).to(up.dtype) * scale)
        down = (torch.cat(lifted, 1).T @ rows).to(factors[0].dtype).split(rank)
        own = [gradient for pair in zip(down, ups, strict=True) for gradient in pair]
        return (upper @ weight if ctx.needs_input_grad[0] else None, None, None, None, *own)
