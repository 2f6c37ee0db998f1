"""A session's audio on its way in: bytes as they come, mono samples at 16 kHz as the recogniser takes them."""

from collections.abc import Iterator

import numpy as np

from voicewire.asr.resampler import Resampler
from voicewire.streaming.decoding import Decoder, Samples, open_decoder
from voicewire.streaming.messages import Encoding

# Shorter pieces are gathered up to this many samples (10 ms): half a minute sent sample by sample would otherwise
# be half a million arrays.
_SHORTEST_PIECE = 160
_NOTHING = np.empty(0, np.float32)


class Intake:
    """Decoder and resampler of one session.

    Attributes:
        received_samples: samples decoded so far, at the source's rate.
    """

    def __init__(self, encoding: Encoding, rate: int, channels: int) -> None:
        self.received_samples = 0
        self._decoder: Decoder = open_decoder(encoding, rate, channels)
        self._resampler: Resampler | None = None
        self._gathered: list[Samples] = []
        self._gathered_samples = 0

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
            self._gather(self._resampler.push(piece))
            if self._gathered_samples >= _SHORTEST_PIECE:
                yield self._take()

    def flush(self) -> Samples:
        """What is still held back here, up to a tenth of a second; the stream may go on after it."""
        if self._resampler is not None:
            self._gather(self._resampler.flush())
        return self._take()

    def _gather(self, samples: Samples) -> None:
        if len(samples):
            self._gathered.append(samples)
            self._gathered_samples += len(samples)

    def _take(self) -> Samples:
        taken = self._gathered[0] if len(self._gathered) == 1 else np.concatenate([_NOTHING, *self._gathered])
        self._gathered = []
        self._gathered_samples = 0
        return taken
