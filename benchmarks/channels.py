"""What speech goes through on its way to a listener: nothing, one of our codecs at one of its rates, or Opus."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import soxr

from benchmarks.opus import through_opus
from benchmarks.speech_tars import SAMPLE_RATE
from voicewire.codecs import Codec, rates


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """What the listener gets.

    Attributes:
        samples: float32 of shape (samples,), 16 kHz, as many as were sent and in step with them.
        bits: how many crossed the channel, without any container; None where nothing was coded.
    """

    samples: np.ndarray
    bits: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One way for speech to go.

    Attributes:
        name: of the codec.
        kbps: the bitrate asked for; None where nothing is coded.
        send: takes float32 of shape (samples,), mono, 16 kHz.
    """

    name: str
    kbps: float | None
    send: Callable[[np.ndarray], Received]

    def __str__(self) -> str:
        return self.name if self.kbps is None else f"{self.name} {self.kbps:g}"


ORIGINAL = Channel("original", None, lambda samples: Received(samples, None))


def opus_channel(kbps: float) -> Channel:
    """Raises av.FFmpegError, when something is sent, where libopus has no such bitrate."""
    return Channel("Opus", kbps, lambda samples: Received(*through_opus(samples, kbps)))


def codec_channels(codec: Codec) -> list[Channel]:
    """One for each of its bitrates, lowest first. It must be a codec that sounds."""
    return [
        Channel(codec.name, kbps, partial(_through, codec, codebooks))
        for kbps, codebooks in rates(codec).items()
    ]


def _through(codec: Codec, codebooks: int, samples: np.ndarray) -> Received:
    tokens = codec.encode(_resampled(samples, SAMPLE_RATE, codec.sample_rate), codebooks)
    heard = _resampled(codec.decode(tokens), codec.sample_rate, SAMPLE_RATE)[: len(samples)]
    # Resampling there and back may round a sample away.
    heard = np.pad(heard, (0, len(samples) - len(heard)))
    return Received(heard, tokens.frames * tokens.codebooks * tokens.bits)


def _resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    return samples if rate == wanted else soxr.resample(samples, rate, wanted).astype(np.float32, copy=False)
