"""Windows follow one another without a seam: no word lost, doubled or cut, and the clock goes on."""

import itertools
from collections.abc import Callable

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisper.normalizers import EnglishTextNormalizer

from benchmarks.speech_tars import Clip
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.events import Transcript, Word
from voicewire.asr.repetition import repeated
from voicewire.asr.settings import StreamSettings
from voicewire.asr.window import (
    CAPACITY,
    KEEP_LEAST_S,
    KEEP_MOST_S,
    LEAVE_BY,
    Window,
    choose_rollover,
    next_window,
)
from voicewire.asr.words import SpokenToken

RATE = 16_000
normal = EnglishTextNormalizer()


def spoken_window(ends: list[float], frames: int) -> Window:
    """A window whose words are one token each and follow one another."""
    starts = [0.0, *ends][: len(ends)]
    tokens = [SpokenToken(i, 0.9, a, b) for i, (a, b) in enumerate(zip(starts, ends, strict=True))]
    prefix = [-1, -2, *range(len(ends))]
    return Window(prefix, prompt=2, available=frames, committed=frames, cached=len(prefix), spoken=tokens)


@given(
    lengths=st.lists(st.floats(0.05, 1.5), max_size=60),
    silence_s=st.floats(0.0, 3.0),
    quiet=st.booleans(),
)
def test_a_rollover_keeps_every_word_once_and_stays_on_the_clock(
    lengths: list[float], silence_s: float, quiet: bool
) -> None:
    ends = [float(end) for end in np.cumsum(lengths) if end < 15]
    frames = int(((ends[-1] if ends else 0.0) + silence_s) * 50)
    window = spoken_window(ends, frames)
    rollover = choose_rollover(window, list(range(len(ends))), quiet)
    new = next_window(window, rollover, [-1, -2])
    assert new.start + new.committed == window.start + window.committed
    assert new.start + new.available == window.start + window.available
    assert 0 <= new.committed <= KEEP_MOST_S * 50 + 1
    assert new.prefix == [-1, -2, *(token.token for token in rollover.spoken)]
    assert new.spoken == window.spoken[len(window.spoken) - len(new.spoken) :]
    assert len(new.limits) == (len(new.prefix) - 1 if new.spoken else 0)
    assert all(1 <= limit <= max(new.committed, 1) for limit in new.limits)
    for token in new.spoken:  # a kept word lies in the kept audio, a word left behind does not
        assert token.start_s >= new.start_s - 0.02 - (token.end_s - token.start_s) / 2
    for token in window.spoken[: len(window.spoken) - len(new.spoken)]:
        assert token.end_s <= max(new.start_s + 0.02, window.committed_s - KEEP_LEAST_S)


def test_a_window_with_a_block_and_a_flush_fits() -> None:
    assert LEAVE_BY + 60 + 32 <= CAPACITY


@pytest.mark.parametrize(
    ("tokens", "dropped"),
    [
        ([], 0),
        ([1, 2, 3], 0),
        ([5, 5, 5, 5], 0),  # no, no, no, no
        ([5] * 7, 6),
        ([9, *[5] * 8], 7),
        ([1, 2] * 4, 0),
        ([1, 2] * 5, 8),
        ([7, *[1, 2, 3] * 4], 9),
        ([*[1, 2, 3] * 3, 1], 0),
        ([*range(12)] * 4, 36),
    ],
)
def test_loops_are_noticed_and_emphasis_is_not(tokens: list[int], dropped: int) -> None:
    assert repeated(tokens) == dropped


@given(st.lists(st.integers(0, 3), max_size=80))
def test_what_is_left_of_a_loop_ends_with_one_copy(tokens: list[int]) -> None:
    dropped = repeated(tokens)
    assert 0 <= dropped < max(len(tokens), 1)
    if dropped:
        assert repeated(tokens[:-dropped] + tokens[-dropped:]) == dropped


# ---- real speech


@pytest.fixture(scope="module")
def batch() -> BatchTranscriber:
    return BatchTranscriber.load("base", slots=4)


def transcribe(batch: BatchTranscriber, samples: np.ndarray) -> list[Word]:
    slot = batch.open(StreamSettings(interim=False))
    batch.push(slot, samples)
    batch.flush(slot)
    words: list[Word] = []
    while turn := batch.step():
        for event in turn[slot]:
            words += event.words if isinstance(event, Transcript) else ()
    batch.close(slot)
    return words


def joined(clips: list[Clip], gap_s: float) -> np.ndarray:
    gap = np.zeros(int(gap_s * RATE), np.float32)
    return np.concatenate([piece for clip in clips for piece in (clip.samples, gap)])


def wer(clips: list[Clip], words: list[Word]) -> float:
    return float(
        jiwer.wer(normal(" ".join(clip.text for clip in clips)), normal("".join(w.text for w in words)))
    )


@pytest.mark.parametrize("gap_s", [0.0, 0.8])
def test_speech_runs_on_across_windows(
    batch: BatchTranscriber, clips: Callable[[str, int], list[Clip]], gap_s: float
) -> None:
    """45 s of speech, with and without pauses: words stand across every moment from 5 s to 40 s."""
    some = clips("dev-00", 5)
    samples = joined(some, gap_s)
    assert len(samples) > 45 * RATE
    words = transcribe(batch, samples)
    for word, after in itertools.pairwise(words):
        assert after.start_s >= word.start_s
        assert after.start_s - word.end_s < 4.0, "words are missing"
    assert any(word.start_s < 20 < after.end_s for word, after in itertools.pairwise(words))
    assert any(word.start_s < 30 < after.end_s for word, after in itertools.pairwise(words))
    assert wer(some, words) < 0.25


@pytest.mark.slow
def test_ten_minutes_are_as_good_as_their_utterances(
    batch: BatchTranscriber, clips: Callable[[str, int], list[Clip]]
) -> None:
    some = clips("dev-00", 48)
    samples = joined(some, 0.5)
    assert len(samples) > 600 * RATE
    alone = [word for clip in some for word in transcribe(batch, clip.samples)]
    words = transcribe(batch, samples)
    assert words[-1].end_s > len(samples) / RATE - 5
    assert wer(some, words) < wer(some, alone) + 0.03
