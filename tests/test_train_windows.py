"""Training windows made of real speech: always the same ones, and each as a stream would hear it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training import english, noise_of, shard_of, timed_clips
from voicewire.asr.errors import AudioError, SettingsError
from voicewire.asr.mel import MelState, StreamingLogMel
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.train.settings import WindowSettings
from voicewire.asr.train.shards import Shard
from voicewire.asr.train.teacher import WINDOW_S
from voicewire.asr.train.windows import MELS, Window, WindowMaker
from voicewire.asr.weights import load_checkpoint

WINDOWS = 24
EXACT = {"room": 0, "noise": 0, "tilt": 0, "telephone": 0, "codec": 0, "speed": 0, "without_words": 0}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return english(load_checkpoint("tiny.en", download=False))


@pytest.fixture(scope="module")
def shards(
    speech_tar: Callable[[str], Path], vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory
) -> list[Shard]:
    folder = tmp_path_factory.mktemp("shards")
    clips = timed_clips(speech_tar("dev-00"), 12)
    one = shard_of(folder, "one", clips[:8], vocabulary, corpus="large")
    two = shard_of(folder, "two", clips[8:], vocabulary, corpus="small")
    return [one, two, noise_of(folder)]


def maker(shards: list[Shard], batch: int = 2, **settings: Any) -> WindowMaker:
    return WindowMaker(shards, WindowSettings(**settings), 80, batch)


def same(one: Window, other: Window) -> bool:
    texts = (one.tokens, one.due, one.history) == (other.tokens, other.due, other.history)
    return texts and torch.equal(one.mel, other.mel) and torch.equal(one.clean, other.clean)


def test_a_window_depends_on_seed_and_number_alone(shards: list[Shard]) -> None:
    windows = [maker(shards).window(index) for index in range(6)]
    again = maker(shards, batch=3)
    for index in (5, 2, 0):
        assert same(again.window(index), windows[index])
    assert all(same(one, windows[3 + place]) for place, one in enumerate(again[1]))
    assert not same(windows[0], windows[1])
    assert not same(maker(shards, seed=2).window(0), windows[0])


def test_tokens_are_due_in_order_and_inside(shards: list[Shard], vocabulary: Vocabulary) -> None:
    made = maker(shards)
    spoken = 0
    for index in range(WINDOWS):
        window = made.window(index)
        assert window.mel.shape == window.clean.shape == (MELS, 80)
        assert torch.isfinite(window.mel).all()
        assert torch.isfinite(window.clean).all()
        assert len(window.tokens) == len(window.due)
        assert window.due == sorted(window.due)
        assert all(-0.1 < time < WINDOW_S for time in window.due)
        assert all(0 <= token < vocabulary.wait for token in [*window.tokens, *window.history])
        spoken += len(window.tokens)
    assert spoken / WINDOWS > 15  # there is speech in them


def test_a_window_in_the_middle_continues_the_text(shards: list[Shard], vocabulary: Vocabulary) -> None:
    """Prompt and text are consecutive words of one and the same stretch of speech."""
    made = maker(shards, in_the_middle=1.0, with_history=1.0, **EXACT)
    texts = [f" {utterance.text}" for shard in shards[:2] for utterance in shard.utterances]
    with_history = 0
    for index in range(WINDOWS):
        window = made.window(index)
        if not window.history or not window.tokens:
            continue
        with_history += 1
        whole = vocabulary.text([*window.history, *window.tokens])
        # utterances follow each other whole; the first may have lost its beginning, the last its end
        rest = next(whole[cut:] for cut in range(len(whole) + 1) if _begins_anew(whole[cut:], texts))
        first = whole[: len(whole) - len(rest)]
        assert first == "" or any(text.endswith(first) for text in texts) or any(first in t for t in texts)
    assert with_history > WINDOWS // 2


def _begins_anew(text: str, texts: list[str]) -> bool:
    """Whether text is a chain of whole utterances, the last of which may be cut."""
    if any(one.startswith(text) for one in texts):
        return True
    return any(text.startswith(one) and _begins_anew(text[len(one) :], texts) for one in texts)


def test_a_window_without_history_says_so(shards: list[Shard]) -> None:
    made = maker(shards, in_the_middle=1.0, with_history=0.0)
    assert all(made.window(index).history == [] for index in range(6))
    fresh = maker(shards, in_the_middle=0.0)
    assert all(fresh.window(index).history == [] for index in range(6))


@pytest.mark.parametrize("in_the_middle", [0.0, 1.0])
def test_the_mel_is_the_stream_s(
    in_the_middle: float, shards: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clamped at the maximum of all that the stream heard, also before the window."""
    made = maker(shards, in_the_middle=in_the_middle, without_words=0.0)
    heard: list[tuple[np.ndarray, int]] = []
    finish = made._window

    def spy(clean: Any, disturbed: np.ndarray, skipped: int, *rest: Any) -> Window:
        heard.append((disturbed, skipped))
        return finish(clean, disturbed, skipped, *rest)

    monkeypatch.setattr(made, "_window", spy)
    for index in range(3):
        window = made.window(index)
        samples, skipped = heard[-1]
        assert (skipped > 0) == (in_the_middle > 0)
        streamed = StreamingLogMel().push(MelState(), torch.from_numpy(samples.astype(np.float32)))
        first = skipped // 160
        wanted = streamed[first : first + MELS]
        torch.testing.assert_close(window.mel[: len(wanted)], wanted, atol=1e-5, rtol=1e-5)
        assert len(wanted) >= MELS - 2  # Whisper's spectrogram ends with two frames that look beyond the end


def test_what_the_unmodified_model_hears_is_clean(shards: list[Shard]) -> None:
    noisy = maker(shards, **(EXACT | {"noise": 1.0})).window(3)
    quiet = maker(shards, **EXACT).window(3)
    assert noisy.tokens == quiet.tokens
    torch.testing.assert_close(noisy.clean, quiet.clean)
    assert (noisy.mel.mean() - quiet.mel.mean()) > 0.05


def test_windows_without_words_have_no_tokens(shards: list[Shard]) -> None:
    made = maker(shards, without_words=1.0, in_the_middle=0.0)
    for index in range(6):
        window = made.window(index)
        assert (window.tokens, window.due, window.history) == ([], [], [])
        assert float(window.clean.std()) == 0.0
        assert float(window.mel.std()) > 0.0


def test_without_recorded_noise_it_is_made(shards: list[Shard]) -> None:
    made = maker(shards[:2], without_words=1.0, in_the_middle=0.0)
    assert made.noise_hours == 0.0
    assert float(made.window(0).mel.std()) > 0.0


def test_small_corpora_count_for_more_than_their_hours(shards: list[Shard]) -> None:
    def share(**settings: Any) -> float:
        """Of the hours that are drawn, the smaller corpus's."""
        made = maker(shards, **settings)
        means = [made.hours[name] / len(made._corpora[name]) for name in made._names]
        drawn = made._chances * means
        return float(drawn[made._names.index("small")] / drawn.sum())

    hours = maker(shards).hours
    proportional = hours["small"] / sum(hours.values())
    assert share(evenness=1.0) == pytest.approx(proportional)
    assert proportional < share(evenness=0.6) < share(evenness=0.0) == pytest.approx(0.5)
    assert share(weights={"large": 0.0}) == 1.0


def test_what_cannot_be_drawn_from_is_refused(shards: list[Shard], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AudioError, match="no speech"):
        maker(shards[2:])
    with pytest.raises(SettingsError, match="weight 0"):
        maker(shards, weights={"large": 0.0, "small": 0.0})
    maker(shards, weights={"typo": 2.0})
    assert "typo" in caplog.text


def test_settings_have_bounds() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        WindowSettings(noise=1.5)
    with pytest.raises(ValueError, match="extra"):
        WindowSettings.model_validate({"nosie": 0.1})
