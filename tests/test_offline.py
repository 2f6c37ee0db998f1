"""Offline transcription with real weights and real speech."""

from collections.abc import Callable
from itertools import pairwise

import jiwer
import numpy as np
import pytest
from whisper.normalizers import EnglishTextNormalizer

from benchmarks.speech_tars import Clip
from voicewire.asr.errors import AudioError, SettingsError
from voicewire.asr.offline import OfflineTranscriber

Clips = Callable[[str, int], list[Clip]]


@pytest.fixture(scope="module")
def base() -> OfflineTranscriber:
    return OfflineTranscriber.load("base", device="cpu")


@pytest.fixture(scope="module")
def tiny() -> OfflineTranscriber:
    return OfflineTranscriber.load("tiny.en", device="cpu")


def error_rate(clips: list[Clip], texts: list[str]) -> float:
    normalise = EnglishTextNormalizer()
    rate = jiwer.wer([normalise(clip.text) for clip in clips], [normalise(text) for text in texts])
    assert isinstance(rate, float)
    return rate


def test_real_speech_becomes_its_words(base: OfflineTranscriber, clips: Clips) -> None:
    spoken = clips("test-clean-00", 3)
    heard = [base.transcribe(clip.samples) for clip in spoken]
    assert error_rate(spoken, [transcription.text for transcription in heard]) < 0.12
    for clip, transcription in zip(spoken, heard, strict=True):
        assert transcription.language == "en"
        words = transcription.words
        assert "".join(word.text for word in words).strip() == transcription.text
        assert all(0 <= word.start_s <= word.end_s <= clip.duration + 0.1 for word in words)
        assert all(a.start_s <= b.start_s for a, b in pairwise(words))
        assert all(0 <= word.probability <= 1 and word.emitted_s == clip.duration for word in words)


def test_times_lie_where_the_words_are(base: OfflineTranscriber, clips: Clips) -> None:
    clip = next(clip for clip in clips("words-00", 60) if clip.corpus.startswith("librispeech"))
    heard = base.transcribe(clip.samples).words
    starts = {_plain(word.text): word.start_s for word in clip.words}
    near = [abs(starts[key] - word.start_s) for word in heard if (key := _plain(word.text)) in starts]
    assert len(near) >= 5
    assert np.median(near) < 0.2


def _plain(text: str) -> str:
    return text.strip(" .,;:!?\"'").casefold()


def test_the_english_model_works_too(tiny: OfflineTranscriber, clips: Clips) -> None:
    spoken = clips("test-clean-00", 3)
    texts = [tiny.transcribe(clip.samples).text for clip in spoken]
    assert error_rate(spoken, texts) < 0.2
    with pytest.raises(SettingsError, match="English only"):
        tiny.transcribe(spoken[0].samples, language="de")


def test_progress_goes_forward_to_the_end(tiny: OfflineTranscriber, clips: Clips) -> None:
    samples = np.concatenate([clip.samples for clip in clips("test-clean-00", 6)])
    assert len(samples) > 16_000 * 31  # more than one window
    done: list[float] = []
    aloud = tiny.transcribe(samples, progress=done.append)
    assert len(done) >= 2
    assert done == sorted(done)
    assert done[-1] == pytest.approx(len(samples) / 16_000, abs=0.1)
    assert tiny.transcribe(samples) == aloud  # and the same words again without it


def test_nothing_comes_of_nothing(tiny: OfflineTranscriber) -> None:
    assert tiny.transcribe(np.zeros(0, np.float32)).segments == ()
    assert tiny.transcribe(np.zeros(16_000 * 5, np.float32)).text == ""


def test_nonsense_is_refused(tiny: OfflineTranscriber) -> None:
    for samples in (np.zeros((2, 10), np.float32), np.zeros(10, np.int16), np.full(10, np.nan, np.float32)):
        with pytest.raises(AudioError, match="float32"):
            tiny.transcribe(samples)
    with pytest.raises(SettingsError, match="language"):
        tiny.transcribe(np.zeros(10, np.float32), language="xx")
    with pytest.raises(SettingsError, match="device"):
        OfflineTranscriber.load("tiny.en", device="abacus")
