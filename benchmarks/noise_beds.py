"""Long stretches in which nobody speaks: silence, hiss, rumble, and recorded noises at several levels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.speech_tars import SAMPLE_RATE

HISS_DBFS = (-60.0, -40.0)
RUMBLE_DBFS = (-50.0, -30.0)
RECORDED_DB = (-18.0, 0.0, 6.0)  # against the recording; what gets too loud is clipped, as a sound card does
RECORDED_SHARE = 2 / 3


@dataclass(frozen=True, slots=True, eq=False)
class Bed:
    """One such stretch; `samples` is float32 of shape (samples,), mono, 16 kHz."""

    name: str
    samples: np.ndarray

    @property
    def minutes(self) -> float:
        return len(self.samples) / SAMPLE_RATE / 60


def noise_beds(recordings: Sequence[np.ndarray], minutes: float) -> list[Bed]:
    """Beds of so many minutes in all, always the same ones.

    Args:
        recordings: noises without speech, each float32 of shape (samples,) at 16 kHz; joined, and repeated where
            they are too short.
        minutes: two thirds of them are recordings, the rest is synthetic.
    """
    samples = int(minutes * 60 * SAMPLE_RATE)
    each = int(samples * RECORDED_SHARE / len(RECORDED_DB))
    joined = np.resize(np.concatenate(recordings), each)
    recorded = [
        Bed(f"recorded {level:+.0f} dB", np.clip(joined * _gain(level), -1, 1).astype(np.float32))
        for level in RECORDED_DB
    ]
    rest = samples - each * len(recorded)
    return [*_synthetic(rest // (1 + len(HISS_DBFS) + len(RUMBLE_DBFS))), *recorded]


def _synthetic(samples: int) -> Iterator[Bed]:
    random = np.random.default_rng(0)
    yield Bed("digital silence", np.zeros(samples, np.float32))
    for level in HISS_DBFS:
        noise = random.standard_normal(samples)
        yield Bed(f"white noise {level:.0f} dBFS", (noise * _gain(level)).astype(np.float32))
    for level in RUMBLE_DBFS:
        noise = _pink(samples, random)
        yield Bed(f"pink noise {level:.0f} dBFS", (noise * _gain(level)).astype(np.float32))


def _pink(samples: int, random: np.random.Generator) -> np.ndarray:
    """As much power in each octave, of standard deviation 1."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, samples)
    return noise / noise.std()


def _gain(level_db: float) -> float:
    return float(10 ** (level_db / 20))
