"""Bytes of each encoding to mono samples, as a stream: any cutting of the bytes gives the same samples.

A decoder gives its samples bit by bit, so that whoever takes them can stop when there are too many: a megabyte of
compressed silence may hold hours.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from voicewire.streaming import g711
from voicewire.streaming.errors import DecodingError
from voicewire.streaming.flac import FlacDecoder
from voicewire.streaming.messages import Encoding
from voicewire.streaming.opus import OggOpusDecoder, OpusDecoder

Samples = npt.NDArray[np.float32]

# Samples per channel that a PCM message is cut into; about what one compressed frame holds.
_PIECE = 16_384


class Decoder(Protocol):
    """What turns one session's audio into samples.

    Attributes:
        rate: samples per second of what `push` gives; None until the stream itself has told it.
    """

    @property
    def rate(self) -> int | None: ...

    def push(self, data: bytes) -> Iterator[Samples]:
        """Takes bytes in at once; gives mono float32 of shape (samples,) within -1 to 1, piece by piece.

        The pieces must be taken before the next push. Raises DecodingError, after which the decoder is of no use.
        """
        ...


class PcmDecoder:
    """Uncompressed samples, interleaved where there are two channels; every message holds whole ones."""

    def __init__(self, encoding: Encoding, rate: int, channels: int) -> None:
        self.rate = rate
        self._encoding = encoding
        self._channels = channels
        self._width = {"pcm_s16le": 2, "pcm_f32le": 4}.get(encoding, 1)

    def push(self, data: bytes) -> Iterator[Samples]:
        frame = self._width * self._channels
        if len(data) % frame:
            raise DecodingError(
                f"a message of {len(data)} bytes is no whole number of samples: send multiples of {frame} "
                f"({self._encoding}, {self._channels} channel{'s' if self._channels > 1 else ''})"
            )
        step = _PIECE * frame
        return (self._decode(data[start : start + step]) for start in range(0, len(data), step))

    def _decode(self, data: bytes) -> Samples:
        samples = self._interleaved(data)
        if self._channels == 1:
            return samples
        mono: Samples = samples.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        return mono

    def _interleaved(self, data: bytes) -> Samples:
        match self._encoding:
            case "pcm_s16le":
                return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)
            case "pcm_f32le":
                samples = np.frombuffer(data, "<f4").astype(np.float32)
                if not np.isfinite(samples).all():
                    raise DecodingError("a sample is not a finite number: send floats within -1 to 1")
                # One absurd sample would make the recogniser's energies overflow.
                return np.clip(samples, -1.0, 1.0)
            case "mulaw":
                return g711.MU_LAW[np.frombuffer(data, np.uint8)]
            case _:
                return g711.A_LAW[np.frombuffer(data, np.uint8)]


def open_decoder(encoding: Encoding, rate: int, channels: int) -> Decoder:
    """The decoder of a session; `rate` and `channels` are of PCM, compressed streams carry their own."""
    match encoding:
        case "opus":
            return OpusDecoder()
        case "ogg_opus":
            return OggOpusDecoder()
        case "flac":
            return FlacDecoder()
        case _:
            return PcmDecoder(encoding, rate, channels)
