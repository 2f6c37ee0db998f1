"""The measure of what an entropy coder could save: known of codes whose entropy is known."""

import numpy as np
import pytest

from benchmarks.token_entropy import ALONE, BEFORE, saving


def test_what_cannot_be_saved_is_not() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (5_000, 4))
    assert -0.02 < saving(codes, 4, ALONE, 5_000) < 0.0


def test_a_skew_is_worth_its_entropy() -> None:
    """A code that is 0 in nine of ten cases, else any of 15: 0.47 + 0.1 * 3.91 bits of 4."""
    dice = np.random.default_rng(1)
    codes = np.where(dice.random((20_000, 2)) < 0.9, 0, dice.integers(1, 16, (20_000, 2)))
    assert saving(codes, 4, ALONE, 20_000) == pytest.approx(1 - 0.86 / 4, abs=0.01)


def test_what_follows_from_the_last_code_is_only_known_to_the_model_that_looks_at_it() -> None:
    codes = (np.arange(4_000)[:, None] + np.arange(3)) % 16
    assert saving(codes, 4, BEFORE, 4_000) > 0.9
    assert saving(codes, 4, ALONE, 4_000) < 0.2
    assert saving(codes, 4, BEFORE, 16) < 0.1
