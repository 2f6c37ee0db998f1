"""Recordings cut into passages: nothing lost, nothing held for long, and the recording's own times."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.speech_tars import Clip
from voicewire.asr.passages import LONGEST_S, MARGIN_S, WANTED_S, Passage, PassageClock, Passages, Piece
from voicewire.asr.voice_activity import VoiceActivity

RATE = 16_000
Clips = Callable[[str, int], list[Clip]]


@pytest.fixture(scope="module")
def voice() -> VoiceActivity:
    return VoiceActivity()


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def cut(voice: VoiceActivity, samples: np.ndarray, step: int = 8_000, **options: bool) -> list[Passage]:
    passages = Passages(voice, **options)
    cut = [one for at in range(0, len(samples), step) for one in passages.push(samples[at : at + step])]
    return cut + passages.flush()


def test_long_silences_are_left_out_and_short_ones_stay(voice: VoiceActivity, clips: Clips) -> None:
    one, two = (clip.samples for clip in clips("dev-00", 2))
    recording = np.concatenate([silence(30), one, silence(1), two, silence(60), one, silence(10)])
    (passage,) = cut(voice, recording)
    spoken_s = (len(one) * 2 + len(two)) / RATE
    assert spoken_s < passage.duration_s < spoken_s + 1 + 4 * (MARGIN_S + 0.4)
    assert len(passage.clock.pieces) >= 2
    for piece in passage.clock.pieces:
        at, start = round(piece.at_s * RATE), round(piece.start_s * RATE)
        length = round((piece.end_s - piece.start_s) * RATE)
        assert np.array_equal(passage.samples[at : at + length], recording[start : start + length])
    first, last = passage.clock.pieces[0], passage.clock.pieces[-1]
    assert first.start_s == pytest.approx(30, abs=0.9)
    assert last.start_s == pytest.approx(30 + 1 + 60 + (len(one) + len(two)) / RATE, abs=0.9)
    assert passage.until_s == len(recording) / RATE


def test_a_word_belongs_where_its_middle_is() -> None:
    clock = PassageClock((Piece(0, 10, 13), Piece(3, 60, 64)))
    assert clock.span(1, 2) == (11, 12)
    assert clock.span(4, 5) == (61, 62)
    assert clock.span(2.5, 3.2) == (12.5, 13), "no word is spread over what was left out"
    assert clock.span(2.9, 3.5) == (60, 60.5)
    assert clock.span(6.5, 9) == (63.5, 64)


def test_any_cutting_gives_the_same_passages(voice: VoiceActivity, spoken: np.ndarray) -> None:
    recording = np.concatenate([spoken[: 20 * RATE], silence(5), spoken[20 * RATE : 30 * RATE]])
    whole = cut(voice, recording, len(recording))
    for step in (160, 5_000):
        pieces = cut(voice, recording, step)
        assert [one.clock.pieces for one in pieces] == [one.clock.pieces for one in whole]
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(pieces, whole, strict=True))


def test_a_long_recording_is_cut_at_pauses(voice: VoiceActivity, spoken: np.ndarray) -> None:
    recording = np.tile(spoken, -(-400 * RATE // len(spoken)))
    for skip_silence in (True, False):
        passages = cut(voice, recording, skip_silence=skip_silence)
        assert len(passages) >= 2
        for before, after in pairwise(passages):
            assert WANTED_S <= before.duration_s <= LONGEST_S
            at = round(before.until_s * RATE)
            assert before.clock.pieces[-1].end_s <= after.clock.pieces[0].start_s
            loud = np.abs(recording[at - 1_600 : at + 1_600]).max()
            assert loud < 0.5 * np.abs(recording).max(), "not in the middle of a word"
        if not skip_silence:
            assert np.array_equal(np.concatenate([one.samples for one in passages]), recording)


def test_speech_without_a_pause_is_cut_all_the_same(voice: VoiceActivity, clips: Clips) -> None:
    samples = clips("dev-00", 1)[0].samples
    loudest = max(range(0, len(samples) - RATE, 1_600), key=lambda at: np.abs(samples[at : at + RATE]).mean())
    recording = np.tile(samples[loudest : loudest + RATE], 400)
    passages = cut(voice, recording, skip_silence=False)
    assert sum(len(one.samples) for one in passages) == len(recording)
    assert all(one.duration_s <= LONGEST_S for one in passages)


def test_nothing_comes_of_silence_and_nothing_is_held_of_it(voice: VoiceActivity) -> None:
    passages = Passages(voice)
    for _ in range(120):
        assert passages.push(silence(1)) == []
    assert passages._audio.end - passages._audio.start < 4 * RATE
    assert passages.flush() == []
    assert cut(voice, silence(0)) == []
