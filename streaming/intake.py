"""A session's audio on its way in: bytes as they come, mono samples at 16 kHz as the recogniser takes them."""

from collections.abc import Iterator

import numpy as np

from voicewire.asr.resampler import Resampler
from voicewire.streaming.decoding import Decoder, Samples, open_decoder
from voicewire.streaming.messages import Encoding


class Intake:
    """Decoder and resampler of one session.

    Attributes:
        received_samples: samples decoded so far, at the source's rate.
    """

    def __init__(self, encoding: Encoding, rate: int, channels: int) -> None:
        self.received_samples = 0
        self._decoder: Decoder = open_decoder(encoding, rate, channels)
        self._resampler: Resampler | None = None

    @property
    def received_s(self) -> float:
        """Seconds of audio received so far."""
        rate = self._decoder.rate
        return self.received_samples / rate if rate else 0.0

    def push(self, data: bytes) -> Iterator[Samples]:
        """Gives float32 of shape (samples,) at 16 kHz, piece by piece, to be taken before the next push.

        Raises DecodingError, after which the intake is of no use.
        """
        for piece in self._decoder.push(data):
            if self._resampler is None:
                # A compressed stream tells its rate before its first samples.
                assert self._decoder.rate is not None
                self._resampler = Resampler(self._decoder.rate)
            self.received_samples += len(piece)
            resampled = self._resampler.push(piece)
            if len(resampled):
                yield resampled

    def flush(self) -> Samples:
        """What the resampler still holds back, up to a tenth of a second; the stream may go on after it."""
        return np.empty(0, np.float32) if self._resampler is None else self._resampler.flush()
