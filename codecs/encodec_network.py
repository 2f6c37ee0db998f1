"""EnCodec's network at 24 kHz, one mono channel: encoder, residual codebooks, decoder, each as a stream.

The layers are those of "High Fidelity Neural Audio Compression" (arXiv 2210.13438), section 3, as the published
checkpoint has them: residual blocks at four scales, the next one coarser by 2, 4, 5 and 8, and then an LSTM.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from voicewire.codecs.encodec_layers import (
    Convolution,
    Expansion,
    Lstm,
    Product,
    Residual,
    Turn,
    Weights,
    elu,
)

NAME, SAMPLE_RATE, FRAME_RATE, BITS = "encodec_24khz", 24_000, 75.0, 10
CHOICES = (2, 4, 8, 16, 32)
RATIOS = (2, 4, 5, 8)
FRAME_SAMPLES = prod(RATIOS)
CODEBOOKS, CODES, WIDTH = 32, 1024, 128
CHANNELS = (32, 64, 128, 256, 512)
BEGINNING_FRAMES = 7
"""Frames until the first can be known: the convolution of 7 frames mirrors 6 before its beginning."""

Layer = Convolution | Expansion | Residual | Lstm

_LSTM_LAYERS = 2
# Of the convolutions over samples, so many windows are one row of a product: with one channel on either side it
# would be too narrow to be fast. Measured: with 1, 8, 16 the last layer takes 824, 226, 220 us for 32 frames.
_SAMPLES_TOGETHER = 8


class Encoder:
    """Audio to embeddings."""

    def __init__(self, weights: Weights) -> None:
        self._first = _convolution(weights, "encoder.0", together=_SAMPLES_TOGETHER)
        self._scales = [
            (
                Residual(f"encoder.{1 + 3 * scale}", weights),
                _convolution(weights, f"encoder.{3 + 3 * scale}", stride=ratio),
            )
            for scale, ratio in enumerate(RATIOS)
        ]
        self._lstm = Lstm("encoder.13", weights, _LSTM_LAYERS)
        self._last = _convolution(weights, "encoder.15")
        self.layers: list[Layer] = [
            self._first,
            *(layer for scale in self._scales for layer in scale),
            self._lstm,
            self._last,
        ]

    def __call__(self, samples: Tensor, turn: Turn) -> Tensor:
        """(streams, samples) to (streams, frames, WIDTH), rounded up at the end of a stream."""
        x = self._first(samples.unsqueeze(2), turn)
        for block, shrink in self._scales:
            x = shrink(elu(block(x, turn)), turn)
        return self._last(elu(self._lstm(x, turn)), turn)


class Decoder:
    """Embeddings to audio."""

    def __init__(self, weights: Weights) -> None:
        self._first = _convolution(weights, "decoder.0")
        self._lstm = Lstm("decoder.1", weights, _LSTM_LAYERS)
        self._scales = [
            (
                _expansion(weights, f"decoder.{3 + 3 * scale}"),
                Residual(f"decoder.{4 + 3 * scale}", weights),
            )
            for scale in range(len(RATIOS))
        ]
        self._last = _convolution(weights, "decoder.15", together=_SAMPLES_TOGETHER)
        self.layers: list[Layer] = [
            self._first,
            self._lstm,
            *(layer for scale in self._scales for layer in scale),
            self._last,
        ]

    def __call__(self, embeddings: Tensor, turn: Turn) -> Tensor:
        """(streams, frames, WIDTH) to (streams, samples)"""
        x = self._lstm(self._first(embeddings, turn), turn)
        for grow, block in self._scales:
            x = block(grow(elu(x), turn), turn)
        return self._last(elu(x), turn).flatten(1)


class Codebooks:
    """Residual vector quantisation: each codebook holds what the ones before it left over."""

    def __init__(self, weights: Weights) -> None:
        tables = [weights[f"quantizer.{place}"] for place in range(CODEBOOKS)]
        # |x - e|^2 is smallest where 2 x e - |e|^2 is largest
        self._searches = [Product(2 * table, -table.square().sum(1)) for table in tables]
        # one more entry, for a codebook that a stream goes without
        self._tables = [torch.cat([table, table.new_zeros(1, WIDTH)]) for table in tables]

    def encode(self, embeddings: Tensor, codebooks: int) -> Tensor:
        """(streams, frames, WIDTH) to int64 codes of shape (streams, frames, codebooks)."""
        streams, frames, _ = embeddings.shape
        left = embeddings.reshape(streams * frames, WIDTH)
        codes = []
        for search, table in zip(self._searches[:codebooks], self._tables[:codebooks], strict=True):
            codes.append(search(left).argmax(1))
            left = left - table[codes[-1]]
        return torch.stack(codes, dim=1).view(streams, frames, codebooks)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (streams, frames, codebooks), CODES where there is none, to (streams, frames, WIDTH)."""
        streams, frames, codebooks = codes.shape
        columns = codes.reshape(streams * frames, codebooks).unbind(1)
        total = self._tables[0][columns[0]]
        for table, column in zip(self._tables[1:codebooks], columns[1:], strict=True):
            total += table[column]
        return total.view(streams, frames, WIDTH)


@dataclass(frozen=True)
class Network:
    """The whole network, shared by all streams.

    Attributes:
        dtype: what it computes in.
        sha256: of the weights.
        mirrors: whether a stream's beginning is mirrored before itself, as EnCodec has it; otherwise there is
            silence before it.
    """

    encoder: Encoder
    decoder: Decoder
    codebooks: Codebooks
    dtype: torch.dtype
    sha256: str
    mirrors: bool

    @classmethod
    def build(cls, weights: Weights, sha256: str, dtype: torch.dtype, mirrors: bool) -> "Network":
        """From the folded tensors that `encodec_checkpoint` reads."""
        cast = {name: tensor.to(dtype) for name, tensor in weights.items()}
        return cls(Encoder(cast), Decoder(cast), Codebooks(cast), dtype, sha256, mirrors)

    @property
    def identity(self) -> dict[str, str | bool]:
        """What a snapshot must share with the network that goes on from it."""
        return {"codec": NAME, "weights": self.sha256, "dtype": str(self.dtype), "mirrors": self.mirrors}


def _convolution(weights: Weights, name: str, stride: int = 1, together: int = 1) -> Convolution:
    return Convolution(name, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, together)


def _expansion(weights: Weights, name: str) -> Expansion:
    return Expansion(name, weights[f"{name}.weight"], weights[f"{name}.bias"])
