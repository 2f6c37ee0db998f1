"""Whisper's encoder over time: convolutions that remember their inputs, and blocks of frames that attend to all
that their stream encoded before them.

A block is committed or provisional only by what its stream does next: a provisional one is simply encoded over.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from voicewire.asr.attention import attend
from voicewire.asr.model import CausalWhisper
from voicewire.asr.slots import Slots


@dataclass
class ConvState:
    """What the two convolutions still need of one stream; None before its first frame.

    Attributes:
        mel: the last mel frames, shape = (<= 2, n_mels)
        hidden: the last outputs of the first convolution, shape = (<= 2, n_state)
    """

    mel: Tensor | None = field(default=None)
    hidden: Tensor | None = field(default=None)

    def copy(self) -> "ConvState":
        return ConvState(self.mel, self.hidden)


class Block(NamedTuple):
    """Frames `start` to `end` (positions in the window) of `slot`, to be encoded together."""

    slot: int
    start: int
    end: int


class BlockEncoder:
    """Encodes blocks of several streams at a time into their slots."""

    def __init__(self, model: CausalWhisper, slots: Slots) -> None:
        self.model = model
        self.slots = slots

    @torch.inference_mode()
    def convolve(self, state: ConvState, mel: Tensor) -> Tensor:
        """Mel frames, shape = (n, n_mels) -> encoder frames without positions, shape = (m, n_state).

        Frame j needs mel frames up to 2 j + 2. The stream's start is padded with zeros as in Whisper; nothing
        else is.
        """
        encoder = self.model.encoder
        mel = mel.to(device=self.model.device, dtype=self.model.dtype)
        earlier = mel.new_zeros(1, mel.shape[1]) if state.mel is None else state.mel
        mel = torch.cat([earlier, mel])
        state.mel = mel[-2:]
        hidden = encoder.conv1(_neighbours(mel, 1))
        hidden = torch.cat(
            [hidden.new_zeros(1, hidden.shape[1]) if state.hidden is None else state.hidden, hidden]
        )
        frames: Tensor = encoder.conv2(_neighbours(hidden, 2))
        state.hidden = hidden[2 * len(frames) :]
        return frames

    @torch.inference_mode()
    def encode(self, blocks: list[Block]) -> Tensor:
        """Encodes each block against what its slot holds before it; a slot may have several, in order.

        Reads `slots.front`; writes the keys and values of encoder and cross-attention at the blocks' positions.
        Returns the encoder's output for all blocks, in turn, shape = (rows, n_state).
        """
        x = self.features(blocks)
        self.show(blocks, x)
        return x

    @torch.inference_mode()
    def features(self, blocks: list[Block]) -> Tensor:
        """As `encode`, but the decoder is shown nothing of it."""
        encoder = self.model.encoder
        x = torch.cat(
            [self.slots.front[b.slot, b.start : b.end] + encoder.positions[b.start : b.end] for b in blocks]
        )
        for layer, block in enumerate(encoder.blocks):
            attention = block.attention
            mixed = self._attend(layer, blocks, attention.qkv(attention.norm(x)))
            x = block.mlp(x + attention.out(mixed))
        features: Tensor = encoder.norm(x)
        return features

    @torch.inference_mode()
    def show(self, blocks: list[Block], features: Tensor) -> None:
        """Lets the decoder see features, shape = (rows, n_state), as the encoder's output at the blocks'
        positions.
        """
        self._write_cross(blocks, self.model.decoder.cross_kv(features))

    def _attend(self, layer: int, blocks: list[Block], qkv: Tensor) -> Tensor:
        """qkv, shape = (rows, 3 n_state) -> mixed values, shape = (rows, n_state)."""
        heads = self.model.dims.n_audio_head
        mixed = qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3)
        row = 0
        for slot, start, end in blocks:
            rows = slice(row, row := row + end - start)
            q, k, v = qkv[rows].view(end - start, 3, heads, -1).permute(1, 2, 0, 3)
            keys, values = self.slots.encoder_keys[layer, slot], self.slots.encoder_values[layer, slot]
            keys[:, :, start:end] = k.transpose(1, 2)
            values[:, start:end] = v
            mixed[rows], _ = attend(q, keys, values, end)
        return mixed

    def _write_cross(self, blocks: list[Block], kv: Tensor) -> None:
        """kv, shape = (rows, layers * 2 * n_state) -> the slots' cross-attention keys and values."""
        dims = self.model.dims
        row = 0
        for slot, start, end in blocks:
            rows = slice(row, row := row + end - start)
            k, v = (
                kv[rows].view(end - start, dims.n_text_layer, 2, dims.n_text_head, -1).permute(2, 1, 3, 0, 4)
            )
            self.slots.cross_keys[:, slot, :, :, start:end] = k.transpose(2, 3)
            self.slots.cross_values[:, slot, :, start:end] = v


def _neighbours(x: Tensor, stride: int) -> Tensor:
    """Frames with their neighbours, as a convolution of width 3 sees them: (n, c) -> (m, 3 c)."""
    if len(x) < 3:
        return x.new_empty(0, 3 * x.shape[1])
    return x.unfold(0, 3, stride).flatten(1)
