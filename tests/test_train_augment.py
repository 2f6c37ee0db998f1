"""What is done to speech before it is learnt from."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from voicewire.asr.train import augment

RATE = 16_000
CHANGES: dict[str, Callable[..., np.ndarray]] = {
    "room": augment.room,
    "telephone": augment.telephone,
    "codec": augment.codec,
    "tilt": augment.tilt,
}


@pytest.fixture(scope="module")
def speech(spoken: np.ndarray) -> np.ndarray:
    return spoken[: 7 * RATE + 13]  # no round number


def delay_samples(changed: np.ndarray, original: np.ndarray) -> int:
    """By how much the one lags behind the other, by their cross-correlation."""
    size = 2 * len(original)
    product = np.fft.rfft(changed, size) * np.conj(np.fft.rfft(original, size))
    lag = int(np.argmax(np.fft.irfft(product, size)))
    return lag if lag < len(original) else lag - size


def power_above(samples: np.ndarray, hertz: float) -> float:
    """Share of the power at higher frequencies."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / RATE) > hertz].sum() / power.sum())


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", range(4))
def test_a_change_keeps_length_and_place(name: str, seed: int, speech: np.ndarray) -> None:
    changed = CHANGES[name](speech, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    assert changed.shape == speech.shape
    assert np.isfinite(changed).all()
    assert not np.array_equal(changed, speech)
    assert abs(delay_samples(changed, speech)) <= 32  # 2 ms


@pytest.mark.parametrize("name", CHANGES)
def test_silence_stays_finite(name: str) -> None:
    changed = CHANGES[name](np.zeros(RATE, np.float32), np.random.default_rng(1))
    assert changed.shape == (RATE,)
    assert np.isfinite(changed).all()


class Chosen:
    """A generator of chance that chooses one codec, at its worst."""

    def __init__(self, codec: int) -> None:
        self._codec = codec

    def integers(self, _: int) -> int:
        return self._codec

    def uniform(self, _: float, most: float) -> float:
        return most


@pytest.mark.parametrize("codec", range(3))
def test_no_codec_delays(codec: int, speech: np.ndarray) -> None:
    """A shifted word would be learnt at the wrong time."""
    chance: Any = Chosen(codec)
    changed = augment.codec(speech * 3, chance)  # beyond full scale, as a gain may make it
    assert abs(delay_samples(changed, speech)) <= 16
    quiet = np.corrcoef(changed, speech)[0, 1]
    assert 0.5 < quiet < 0.99999  # the speech is still there, and has lost something


@pytest.mark.parametrize("snr_db", [3.0, 20.0])
def test_a_background_is_as_loud_as_asked(snr_db: float, speech: np.ndarray) -> None:
    hiss = augment.colored(len(speech), np.random.default_rng(2))
    added = augment.noise(speech, hiss, snr_db) - speech
    loud = np.quantile(np.mean(speech[: len(speech) // 320 * 320].reshape(-1, 320) ** 2, axis=1), 0.9)
    assert 10 * np.log10(loud / np.mean(added**2)) == pytest.approx(snr_db, abs=0.1)
    assert np.corrcoef(added, hiss)[0, 1] > 0.999


def test_where_one_of_the_two_is_silent_nothing_is_added(speech: np.ndarray) -> None:
    silence = np.zeros_like(speech)
    assert np.array_equal(augment.noise(speech, silence, 3.0), speech)
    assert np.array_equal(augment.noise(silence, speech, 3.0), silence)


def test_a_telephone_has_nothing_above_four_kilohertz(speech: np.ndarray) -> None:
    assert power_above(speech, 4200) > 1e-3
    assert power_above(augment.telephone(speech, np.random.default_rng(1)), 4200) < 1e-4


@pytest.mark.parametrize("factor", [0.88, 1.0, 1.14])
def test_speed_changes_the_length_by_its_factor(factor: float, speech: np.ndarray) -> None:
    changed = augment.speed(speech, factor)
    assert len(changed) == pytest.approx(len(speech) / factor, abs=20)
    assert changed.dtype == np.float32


def test_a_room_is_as_loud_as_the_speech_was(speech: np.ndarray) -> None:
    echoing = augment.room(speech, np.random.default_rng(3))
    assert np.mean(echoing**2) == pytest.approx(np.mean(speech**2), rel=1e-3)


@pytest.mark.parametrize("count", [1, 500, 1000, 1001, 12_345])
def test_a_sound_is_cut_or_repeated_to_any_length(count: int) -> None:
    sound = np.arange(1000, dtype=np.float32)
    stretched = augment.stretch_to(sound, count, np.random.default_rng(count))
    assert len(stretched) == count
    steps = np.diff(stretched)
    assert np.isin(steps, [1, -999]).all()  # goes on, or begins again


def test_made_noise_has_unit_power() -> None:
    for seed in range(5):
        made = augment.colored(RATE, np.random.default_rng(seed))
        assert np.mean(made**2) == pytest.approx(1.0, rel=1e-3)
