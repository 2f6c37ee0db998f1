"""Lyra's three networks as one model: frames of samples to codes and back, for many streams at once."""

import hashlib
from collections.abc import Mapping
from functools import partial

import numpy as np

from voicewire.codecs.lyra_graph import codebooks, decoder_graph, encoder_graph, quantizer_graph, tap_bias
from voicewire.codecs.lyra_network import Memory, Network

SAMPLE_RATE, FRAME_RATE, FRAME = 16_000, 50.0, 320
CODEBOOKS, BITS = 46, 4
# The decoder's last layer: 64 taps every 16 samples, so that each sample is the sum of four.
STEP, OVERLAP = 16, 4


class LyraModel:
    """What all streams share. Takes the bytes of soundstream_encoder, quantizer and lyragan.tflite.

    Attributes:
        sha256: of the three files, joined in this order.
    """

    def __init__(self, encoder: bytes, quantizer: bytes, decoder: bytes) -> None:
        self.sha256 = hashlib.sha256(encoder + quantizer + decoder).hexdigest()
        self._encoder = Network(partial(encoder_graph, encoder))
        self._quantizer = Network(partial(quantizer_graph, quantizer))
        self._decoder = Network(partial(decoder_graph, decoder))
        self._codebooks = codebooks(quantizer)
        self._bias = np.float32(tap_bias(decoder))

    def encoder_memory(self, slots: int) -> Memory:
        """For `encode`."""
        return Memory(self._encoder.remembers, slots)

    def decoder_memory(self, slots: int) -> Memory:
        """For `decode`; its last layer is what past frames add to the next samples."""
        return Memory([*self._decoder.remembers, (OVERLAP - 1, STEP)], slots)

    def encode(self, frames: Mapping[int, np.ndarray], memory: Memory) -> dict[int, np.ndarray]:
        """Samples of each slot, (frames, 320), as codes, (frames, 46)."""
        features = self._encoder.frames(frames, memory)
        codes = self._quantizer.rows(np.concatenate([self._encoder.nothing, *features.values()]))
        edges = np.cumsum([len(rows) for rows in features.values()], dtype=int)
        return dict(zip(features, np.split(codes, edges), strict=False))  # behind the last edge is nothing

    def decode(self, codes: Mapping[int, np.ndarray], memory: Memory) -> dict[int, np.ndarray]:
        """Codes of each slot, (frames, codebooks) of any number of codebooks, as samples, (frames * 320,)."""
        features = {slot: self._features(columns) for slot, columns in codes.items()}
        taps = self._decoder.frames(features, memory)
        return {slot: self._sound(rows, memory.layers[-1][slot]) for slot, rows in taps.items()}

    def _features(self, codes: np.ndarray) -> np.ndarray:
        """The sum of what the codes stand for, (frames, 64)."""
        chosen = self._codebooks[np.arange(codes.shape[1]), codes]
        features: np.ndarray = chosen.sum(axis=1)  # one after the other, coarse first, as LiteRT adds them
        return features

    def _sound(self, taps: np.ndarray, tail: np.ndarray) -> np.ndarray:
        """Adds up the last layer's taps.

        Args:
            taps: of shape (frames, 20, 1, 64), one row every 16 samples.
            tail: what earlier frames add to the first samples, (3, 16); is made what these add to later ones.
        """
        rows = taps.reshape(-1, OVERLAP, STEP)
        summed = np.concatenate([tail, np.zeros((len(rows), STEP), np.float32)])
        for place in reversed(range(OVERLAP)):  # the oldest first: the same sums wherever the stream is cut
            summed[place : place + len(rows)] += rows[:, place]
        tail[:] = summed[len(rows) :]
        return summed[: len(rows)].reshape(-1) + self._bias
