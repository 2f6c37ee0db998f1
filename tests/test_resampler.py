"""The streaming resampler: the same samples for any cutting, an exact clock, and sound that is still the sound."""

from itertools import pairwise

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from voicewire.asr.errors import AudioError
from voicewire.asr.resampler import Resampler, resample

RATES = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def in_pieces(resampler: Resampler, samples: np.ndarray, cuts: list[int]) -> np.ndarray:
    edges = [0, *sorted(cuts), len(samples)]
    pieces = [resampler.push(samples[a:b]) for a, b in pairwise(edges)]
    return np.concatenate([*pieces, resampler.flush()])


@given(data=st.data(), rate=st.sampled_from(RATES), count=st.integers(0, 40_000))
@settings(max_examples=150, deadline=None)
def test_any_cutting_gives_the_same_samples(data: st.DataObject, rate: int, count: int) -> None:
    cuts = data.draw(st.lists(st.integers(0, count), max_size=60))
    samples = noise(count)
    whole = resample(samples, rate)
    assert len(whole) == round(count * 16_000 / rate)
    np.testing.assert_array_equal(in_pieces(Resampler(rate), samples, cuts), whole)


def test_single_samples_are_pieces_too() -> None:
    samples = noise(3_000)
    for rate in (8_000, 44_100):
        pieces = in_pieces(Resampler(rate), samples, list(range(3_000)))
        np.testing.assert_array_equal(pieces, resample(samples, rate))


@given(rate=st.integers(8_000, 48_000), counts=st.lists(st.integers(0, 3_000), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_clock_is_exact_after_every_flush(rate: int, counts: list[int]) -> None:
    resampler, taken, given_out = Resampler(rate), 0, 0
    for count in counts:
        given_out += len(resampler.push(noise(count)))
        taken += count
        assert resampler.delay_s == pytest.approx(taken / rate - given_out / 16_000, abs=1e-9)
        assert resampler.delay_s >= -0.51 / 16_000  # a flush may round up by half a sample
        given_out += len(resampler.flush())
        assert given_out == round(taken * 16_000 / rate)


@pytest.mark.parametrize("rate", [22_050, 32_000, 44_100, 48_000])
def test_above_the_target_it_is_soxr_on_the_whole_file(rate: int) -> None:
    samples = noise(rate)
    ours, theirs = resample(samples, rate), soxr.resample(samples, rate, 16_000, quality="HQ")
    count = min(len(ours), len(theirs)) - 200  # soxr meets the end with nothing, we with a moment of silence
    np.testing.assert_allclose(ours[:count], theirs[:count], atol=1e-6)


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != 16_000])
@pytest.mark.parametrize("hertz", [100, 1_000, 3_000])
def test_a_tone_keeps_its_place_and_strength(rate: int, hertz: int) -> None:
    def tone(at: int) -> np.ndarray:
        return np.sin(2 * np.pi * hertz * np.arange(at) / at).astype(np.float32)

    # A fifth of a sample early, as the variable-rate stream is at some rates, makes 0.2 at 3 kHz. The ends ring.
    difference = (resample(tone(rate), rate) - tone(16_000))[2_000:-2_000]
    assert np.abs(difference).max() < 0.2
    assert np.std(resample(tone(rate), rate)[2_000:-2_000]) == pytest.approx(np.sqrt(0.5), rel=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_the_delay_stays_short_for_ten_minutes(rate: int) -> None:
    resampler, piece = Resampler(rate), noise(rate // 10)
    given_out, delays = 0, []
    for _ in range(6_000):
        given_out += len(resampler.push(piece))
        delays.append(resampler.delay_s)
    # The first piece fills the filters of the variable-rate stream.
    assert max(delays) <= (0 if rate == 16_000 else 0.061)
    assert max(delays[-100:]) <= max(delays[:100]) + 1 / 16_000
    assert given_out + len(resampler.flush()) == round(6_000 * len(piece) * 16_000 / rate)


def test_what_lies_above_the_target_is_gone() -> None:
    high = np.sin(2 * np.pi * 9_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(high, 48_000)[1_000:-1_000]).max() < 1e-5


def test_nonsense_is_refused() -> None:
    for rate in (0, 7_999, 48_001, -16_000):
        with pytest.raises(AudioError, match="sample rate"):
            Resampler(rate)
    for samples in (np.zeros((2, 10), np.float32), np.zeros(10, np.int16)):
        with pytest.raises(AudioError, match="one row of floats"):
            Resampler(8_000).push(samples)
