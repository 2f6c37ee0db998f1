"""The benchmark of noise: what it plays, and that it would notice a word."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import noise
from benchmarks.noise import Heard, in_all, listen
from benchmarks.noise_beds import Bed, noise_beds
from benchmarks.speech_tars import SAMPLE_RATE, Clip, SpeechTar
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber


def test_the_beds_last_as_long_as_was_asked_and_have_their_levels() -> None:
    random = np.random.default_rng(0)
    recording = random.normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    beds = {bed.name: bed for bed in noise_beds([recording, recording], minutes=0.5)}
    assert sum(bed.minutes for bed in beds.values()) == pytest.approx(0.5, abs=0.001)
    assert not beds["digital silence"].samples.any()
    for name, level in (
        ("white noise -40 dBFS", -40),
        ("pink noise -30 dBFS", -30),
        ("recorded -18 dB", -38),
    ):
        assert 20 * np.log10(beds[name].samples.std()) == pytest.approx(level, abs=1)
    assert np.abs(beds["recorded +6 dB"].samples).max() <= 1
    powers = np.abs(np.fft.rfft(beds["pink noise -30 dBFS"].samples)) ** 2
    octave, above = powers[1000:2000].sum(), powers[2000:4000].sum()
    assert octave == pytest.approx(above, rel=0.2)


def test_only_the_half_that_training_may_not_hear_is_played(speech_tar: Callable[[str], Path]) -> None:
    tar = SpeechTar(speech_tar("noise-00"))
    held_out = tar.held_out_keys()
    assert held_out == tar.keys()[len(tar) // 2 :]
    assert set(tar.held_out_keys(5)) < set(held_out)
    spoken = SpeechTar(speech_tar("dev-01"))
    assert spoken.held_out_keys() == spoken.keys()


def test_words_are_counted_where_somebody_speaks(clips: Callable[[str, int], list[Clip]]) -> None:
    [clip] = clips("words-00", 1)
    transcriber = BatchTranscriber.load("base", slots=2)
    beds = [Bed("speech", clip.samples), Bed("silence", np.zeros_like(clip.samples))]
    heard = {one.name: one for one in listen(transcriber, StreamSettings(), beds)}
    assert len(heard["speech"].committed) > 2
    assert heard["speech"].shown > 2
    assert heard["silence"].figures()["committed_words"] == heard["silence"].shown == 0
    both = in_all([*heard.values()])
    assert both.committed == heard["speech"].committed
    assert both.minutes == pytest.approx(2 * clip.duration / 60)


def test_a_committed_word_is_a_failure(
    speech_tar: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, page = tmp_path / "noise.json", tmp_path / "noise.md"
    arguments = [
        "--data",
        str(speech_tar("noise-00")),
        "--limit",
        "4",
        "--minutes",
        "0.5",
        "--json",
        str(out),
    ]
    noise.main([*arguments, "--markdown", str(page)])
    found = json.loads(out.read_text())["heard"][-1]
    assert (found["sound"], found["committed_words"]) == ("all", 0)
    assert found["minutes"] == pytest.approx(0.5, abs=0.01)
    assert "| digital silence |" in page.read_text()
    loud = Heard("a hum", StreamSettings(), 0.1, ("you",), 1)
    monkeypatch.setattr(noise, "listen", lambda *_: iter([loud] * 8))
    monkeypatch.setattr(noise, "noise_beds", lambda *_: [Bed("a hum", np.zeros(1, np.float32))])
    with pytest.raises(SystemExit) as stopped:
        noise.main(arguments)
    assert stopped.value.code == 1
