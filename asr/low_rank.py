"""The low-rank change of one linear layer, which every adapter format comes down to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from voicewire.asr.errors import WeightsError


@dataclass(frozen=True, slots=True)
class LowRank:
    """`scale * up @ down`, to be added to a layer's weight (LoRA, arXiv 2106.09685).

    Attributes:
        down: (rank, inputs), called A.
        up: (outputs, rank), called B.
        scale: what the product is multiplied by.

    Raises:
        WeightsError: the two do not multiply.
    """

    down: Tensor
    up: Tensor
    scale: float

    def __post_init__(self) -> None:
        fits = self.down.ndim == self.up.ndim == 2 and self.down.shape[0] == self.up.shape[1]
        if not fits or not self.down.is_floating_point() or not self.up.is_floating_point():
            raise WeightsError(
                f"an adapter's A {tuple(self.down.shape)} and B {tuple(self.up.shape)} do not multiply: "
                "the adapter is damaged"
            )

    @property
    def shape(self) -> torch.Size:
        """(outputs, inputs), the shape of the weight that it changes."""
        return torch.Size((self.up.shape[0], self.down.shape[1]))

    @property
    def delta(self) -> Tensor:
        """The change itself, (outputs, inputs), float32."""
        return (self.up.float() @ self.down.float()) * self.scale
