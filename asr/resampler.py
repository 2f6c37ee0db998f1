"""Any sample rate from 8 to 48 kHz turned into the recogniser's, as a stream (soxr).

Cutting the input anywhere gives the same samples, and the clock never drifts: after a flush exactly
`round(taken * target_rate / source_rate)` samples have come out, however many flushes there were.
"""

import numpy as np
import soxr

from voicewire.asr.errors import AudioError
from voicewire.asr.settings import SAMPLE_RATE

LOWEST_RATE, HIGHEST_RATE = 8_000, 48_000

# Delay is what soxr holds back, measured with pushes of 20 ms (mean / worst, ms):
#               8 kHz      11.025 kHz   22.05 kHz   32 kHz    48 kHz
#   fixed rate  64 / 115   47 / 84      23 / 40     32 / 58   21 / 37   0.2 ms of computing per second of audio
#   variable    30 / 30    22 / 36      11 / 11      8 / 8    13 / 13   0.4 (8 kHz) to 1.8 (48 kHz)
# The fixed-rate filters work in blocks. The variable-rate ones do not, and when they raise the rate they
# have linear phase and lose nothing below 3.4 kHz, so telephone audio takes them. Lowering the rate they
# bend the phase by 0.1 ms and gain little, so everything above 16 kHz takes the fixed ones, whose samples are
# those of soxr.resample() on the whole file.
_QUALITY = "HQ"


class Resampler:
    """One stream of mono samples from one rate to another.

    Args:
        source_rate: 8,000 to 48,000 Hz.
        target_rate: the same range.

    Raises:
        AudioError: a rate lies outside the range.
    """

    def __init__(self, source_rate: int, target_rate: int = SAMPLE_RATE) -> None:
        for rate in (source_rate, target_rate):
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise AudioError(f"a sample rate must be {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {rate!r}")
        self.source_rate = source_rate
        self.target_rate = target_rate
        self._taken = 0
        self._given = 0
        self._stream = self._new_stream()

    @property
    def delay_s(self) -> float:
        """How much of the audio that was taken has not come out: 0 at equal rates, 5 to 60 ms above 16 kHz
        and 20 to 40 ms below it; less than a sample after a flush."""
        return self._taken / self.source_rate - self._given / self.target_rate

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take samples and return those that are ready, none at times.

        Args:
            samples: (any number,), float, -1 to 1.

        Returns:
            (some number,), float32.

        Raises:
            AudioError: not one row of floats.
        """
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise AudioError(
                f"samples must be one row of floats, not {samples.dtype} of shape {samples.shape}"
            )
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        self._taken += len(samples)
        return self._give(samples if self._stream is None else self._stream.resample_chunk(samples))

    def flush(self) -> np.ndarray:
        """Return what is left, up to the last sample taken. The stream may go on: silence is taken to lie on
        either side of the flush."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        owed = round(self._taken * self.target_rate / self.source_rate) - self._given
        # soxr rounds the end its own way, now and then a sample short, so it is given some silence to end in.
        silence = np.zeros(self.source_rate // 100, np.float32)
        rest = self._stream.resample_chunk(silence, last=True)
        self._stream = self._new_stream()
        return self._give(rest[:owed])

    def _new_stream(self) -> soxr.ResampleStream | None:
        if self.source_rate == self.target_rate:
            return None
        raises = self.target_rate > self.source_rate
        return soxr.ResampleStream(
            self.source_rate, self.target_rate, 1, dtype="float32", quality=_QUALITY, vr=raises
        )

    def _give(self, samples: np.ndarray) -> np.ndarray:
        self._given += len(samples)
        return samples


def resample(samples: np.ndarray, source_rate: int, target_rate: int = SAMPLE_RATE) -> np.ndarray:
    """The whole of a recording at once; the same samples that a stream gives.

    Args:
        samples: (any number,), float.

    Returns:
        (round(len(samples) * target_rate / source_rate),), float32.

    Raises:
        AudioError: a rate lies outside the range, or samples are not one row of floats.
    """
    resampler = Resampler(source_rate, target_rate)
    return np.concatenate([resampler.push(samples), resampler.flush()])
