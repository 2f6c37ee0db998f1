"""Lyra v2: speech at 3.2, 6 or 9.2 kbit/s, a causal codec with frames of 20 ms and Google's weights.

The model is SoundStream (N. Zeghidour et al., "SoundStream: an end-to-end neural audio codec", IEEE/ACM TASLP 30,
2022), in the size and with the weights of google/lyra 1.3.2 (Apache-2.0). The codes are those that the published
files make in LiteRT; the sound is theirs but for the rounding of float32.
"""

from pathlib import Path

import numpy as np

from voicewire.codecs.codec import CodecBatch, encode_whole
from voicewire.codecs.codec_weights import Progress, WeightsFile, read_weights
from voicewire.codecs.lyra_model import BITS, CODEBOOKS, FRAME_RATE, SAMPLE_RATE, LyraModel
from voicewire.codecs.lyra_streams import CHOICES, NAME, LyraDecoders, LyraEncoders
from voicewire.codecs.tokens import Tokens

_URL = "https://raw.githubusercontent.com/google/lyra/v1.3.2/lyra/model_coeffs/"
_SHA256 = {
    "soundstream_encoder.tflite": "237da0b16226fb0a68d49551c81bebf614e42142af72764448359f68581e88f1",
    "quantizer.tflite": "841ee05989687d32d1f616a8ad1419fc7eda37599d3c05c7cf5a0d60ccf8ac5c",
    "lyragan.tflite": "50e7839cda4f30599a3a34cfaddcd9c98449b049eee884e1a74295780448ad06",
}
FILES = tuple(WeightsFile(NAME, name, _URL + name, sha256, 8 << 20) for name, sha256 in _SHA256.items())


def load(weights: Path | None = None, progress: Progress | None = None) -> "LyraV2":
    """The codec with its weights.

    Args:
        weights: a folder with its three files; None: the cache, or the download of google/lyra.
        progress: told how a download gets on.

    Raises:
        CodecWeightsError: they cannot be had, or are others.
    """
    return LyraV2(LyraModel(*(read_weights(file, weights, progress) for file in FILES)))


class LyraV2:
    """The codec; see `Codec`."""

    name, sample_rate, frame_rate = NAME, SAMPLE_RATE, FRAME_RATE
    codebooks, choices, bits = CODEBOOKS, CHOICES, BITS
    # So far back a decoder's memory reaches: the layers' kernels and dilations, added up.
    preroll, sounds = 25, True

    def __init__(self, model: LyraModel) -> None:
        self._model = model

    @property
    def weights_sha256(self) -> str:
        """Of the three files joined: encoder, quantizer, decoder."""
        return self._model.sha256

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        """A whole recording, mono float32 of shape (samples,), as codes of shape (frames, codebooks)."""
        return encode_whole(self, samples, codebooks)

    def decode(self, tokens: Tokens) -> np.ndarray:
        """Mono float32 of shape (tokens.samples,). Raises TokensError where they are another codec's."""
        batch = self.decoders(1)
        slot = batch.open()
        return batch.push({slot: tokens})[slot]

    def encoders(self, slots: int) -> CodecBatch[np.ndarray, Tokens]:
        """Room for so many streams from audio to tokens."""
        return LyraEncoders(self._model, slots)

    def decoders(self, slots: int) -> CodecBatch[Tokens, np.ndarray]:
        """Room for so many streams from tokens to audio."""
        return LyraDecoders(self._model, slots)
