"""EnCodec at 24 kHz: 1.5 to 24 kbps, 75 frames a second, the same in any pieces as in one.

The network is that of Meta's EnCodec (arXiv 2210.13438), whose published weights it takes. A stream's beginning
lies mirrored before itself, as there, for which 7 frames must have been heard: the first tokens come after 93 ms,
and so does the first sound. With `mirrors=False` there is silence before it, no frame waits, and the tokens of
the first 7 frames are others.
"""

from pathlib import Path

import numpy as np
import torch

from voicewire.codecs.codec import CodecBatch, encode_whole
from voicewire.codecs.encodec_checkpoint import read_encodec
from voicewire.codecs.encodec_network import BITS, CHOICES, CODEBOOKS, FRAME_RATE, NAME, SAMPLE_RATE, Network
from voicewire.codecs.encodec_streams import Decoders, Encoders
from voicewire.codecs.tokens import Tokens


class Encodec24khz:
    """The codec with its weights."""

    name, sample_rate, frame_rate = NAME, SAMPLE_RATE, FRAME_RATE
    codebooks, choices, bits = CODEBOOKS, CHOICES, BITS
    preroll, sounds = 75, True

    def __init__(self, network: Network) -> None:
        self._network = network

    @property
    def weights_sha256(self) -> str:
        return self._network.sha256

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        return encode_whole(self, samples, codebooks)

    def decode(self, tokens: Tokens) -> np.ndarray:
        batch = self.decoders(1)
        slot = batch.open()
        return np.concatenate([batch.push({slot: tokens})[slot], batch.flush([slot])[slot]])

    def encoders(self, slots: int) -> CodecBatch[np.ndarray, Tokens]:
        return Encoders(self._network, slots)

    def decoders(self, slots: int) -> CodecBatch[Tokens, np.ndarray]:
        return Decoders(self._network, slots)


def load(
    weights: Path | None = None, *, dtype: torch.dtype = torch.float32, mirrors: bool = True
) -> Encodec24khz:
    """EnCodec at 24 kHz with its weights.

    Args:
        weights: Meta's checkpoint `encodec_24khz-d7cc33bc.th`, or a safetensors file with its names or with those
            of transformers' EncodecModel, or a folder of either; None: the cache, or Meta's download.
        dtype: float32 or float64.
        mirrors: whether a stream begins as EnCodec's own does; otherwise with silence before it, at once.

    Raises:
        CodecWeightsError: the weights cannot be had, or are not EnCodec's at 24 kHz.
    """
    tensors, sha256 = read_encodec(weights)
    return Encodec24khz(Network.build(tensors, sha256, dtype, mirrors))
