"""The tensors of many streams, allocated once: a slot is one stream's share of each.

Every tensor is indexed by slot and by position in the window; how far a slot is filled is known to its
stream, so a step that does not name a slot leaves it bit for bit as it was. Keys are kept transposed, because
the product of one query with them is then twice as fast on a CPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from whisper.model import ModelDimensions

from voicewire.asr.window import CAPACITY


@dataclass(frozen=True)
class Slots:
    """State of `count` streams.

    Attributes:
        front: output of the two convolutions before positions are added, (slots, frames, n_state). A rollover
            encodes its last seconds again.
        encoder_keys: (layers, slots, heads, head_dim, frames)
        encoder_values: (layers, slots, heads, frames, head_dim)
        cross_keys, cross_values: the same over the decoder's layers
        self_keys: (layers, slots, heads, head_dim, tokens)
        self_values: (layers, slots, heads, tokens, head_dim)
    """

    front: Tensor
    encoder_keys: Tensor
    encoder_values: Tensor
    cross_keys: Tensor
    cross_values: Tensor
    self_keys: Tensor
    self_values: Tensor

    @classmethod
    def allocate(
        cls,
        dims: ModelDimensions,
        count: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        spare: int = 0,
        frames: int = CAPACITY,
    ) -> "Slots":
        """Room for `frames` of `count` streams, and `spare` more places for tokens, which beam search needs."""

        def empty(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        tokens = dims.n_text_ctx
        audio = (dims.n_audio_layer, count, dims.n_audio_head)
        text = (dims.n_text_layer, count, dims.n_text_head)
        searched = (dims.n_text_layer, count + spare, dims.n_text_head)
        audio_dim = dims.n_audio_state // dims.n_audio_head
        text_dim = dims.n_text_state // dims.n_text_head
        return cls(
            front=empty(count, frames, dims.n_audio_state),
            encoder_keys=empty(*audio, audio_dim, frames),
            encoder_values=empty(*audio, frames, audio_dim),
            cross_keys=empty(*text, text_dim, frames),
            cross_values=empty(*text, frames, text_dim),
            self_keys=empty(*searched, text_dim, tokens),
            self_values=empty(*searched, tokens, text_dim),
        )

    @property
    def count(self) -> int:
        return self.front.shape[0]

    @property
    def bytes_per_slot(self) -> int:
        tensors = vars(self).values()
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // self.count

    def clear(self, slot: int) -> None:
        """Makes the slot ready for another stream. What was in its values is multiplied by 0 until it is written
        over, and would be heard if it were not a number.
        """
        self.encoder_values[:, slot] = 0
        self.cross_values[:, slot] = 0
        self.self_values[:, slot] = 0

    def save(self, slot: int, frames: int, tokens: int, available: int) -> dict[str, Tensor]:
        """The filled part of a slot: `frames` encoded, `tokens` decoded, `available` through the
        convolutions.
        """
        return {
            "front": self.front[slot, :available].clone(),
            "encoder_keys": self.encoder_keys[:, slot, :, :, :frames].clone(),
            "encoder_values": self.encoder_values[:, slot, :, :frames].clone(),
            "cross_keys": self.cross_keys[:, slot, :, :, :frames].clone(),
            "cross_values": self.cross_values[:, slot, :, :frames].clone(),
            "self_keys": self.self_keys[:, slot, :, :, :tokens].clone(),
            "self_values": self.self_values[:, slot, :, :tokens].clone(),
        }

    def load(self, slot: int, saved: dict[str, Tensor]) -> None:
        """Puts back what `save` gave."""
        self.front[slot, : saved["front"].shape[0]] = saved["front"]
        for name in ("encoder", "cross", "self"):
            keys, values = saved[f"{name}_keys"], saved[f"{name}_values"]
            getattr(self, f"{name}_keys")[:, slot, :, :, : keys.shape[-1]] = keys
            getattr(self, f"{name}_values")[:, slot, :, : values.shape[-2]] = values
