"""Linear layers with their weights in oneDNN's own blocked layout, for bfloat16 on a CPU.

torch hands oneDNN plain weights, which are laid out anew at every call. Packed once, the same product, to the same
rounding, takes 0.4 of the time for one row and 0.75 for 60 (512 x 2048, one thread of an EPYC with AVX512-BF16;
`python -m benchmarks.packing` measures it).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """A linear layer, and what follows it (`after`: "none" or "gelu"), from packed weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None, after: str = "none") -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = bias
        self._after = after
        self._kind = "none" if after == "gelu" else ""  # GELU by the error function, as Whisper's
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, self._after, [], self._kind
        )
        return result


def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether packing is of use and this torch has it."""
    if dtype != torch.bfloat16 or device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )


def pack_linears(module: nn.Module, after: Mapping[type[nn.Linear], str]) -> None:
    """Replaces every linear layer below `module` by its packed twin; its own weights are let go.

    Args:
        after: what layers of a certain class do with their result.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child.weight, child.bias, after.get(type(child), "none")))
        else:
            pack_linears(child, after)
