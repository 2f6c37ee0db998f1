"""A decoder that stays silent while somebody speaks is noticed, and started afresh."""

from types import SimpleNamespace

import numpy as np
import pytest

from voicewire.asr.events import DecoderReset
from voicewire.asr.settings import StreamSettings
from voicewire.asr.stream import Kind, Plan, Stream
from voicewire.asr.watchdog import PATIENCE_S, Watchdog
from voicewire.asr.window import Window


def test_fifteen_seconds_of_speech_without_a_word_are_too_many() -> None:
    watchdog = Watchdog()
    barks = [watchdog.heard(5.0 * n, speech=True, words=False) for n in range(1, 7)]
    assert barks == 2 * [False, False, True]


def test_words_and_pauses_are_no_silence() -> None:
    watchdog = Watchdog()
    for n in range(1, 100):
        assert not watchdog.heard(1.0 * n, speech=True, words=n % 10 == 0)
    for n in range(100, 200):
        assert not watchdog.heard(1.0 * n, speech=False, words=False)


@pytest.mark.parametrize("probability", [1.0, 0.0])
def test_a_stream_whose_decoder_is_silent_starts_afresh(probability: float) -> None:
    """Commits of 1.2 s from which no word comes, under a voice and in silence."""
    wordless = SimpleNamespace(groups=lambda tokens: [], text=lambda tokens: "")
    stream = Stream(0, StreamSettings(), wordless, Window(prefix=[1], prompt=1))  # type: ignore[arg-type]
    resets = []
    for commit in range(1, 16):
        stream.clock_samples = round(1.2 * 16_000 * commit)
        stream.gate.advance(np.full(40, probability))
        events = stream.finish(Plan(Kind.COMMIT, [], None, 60 * commit), None)
        resets += [event for event in events if isinstance(event, DecoderReset)]
    if not probability:
        assert not resets
        return
    assert [reset.reason for reset in resets] == ["silence"]
    assert PATIENCE_S <= resets[0].time_s < PATIENCE_S + 2.5
    assert stream.restart_s == pytest.approx(resets[0].time_s, abs=0.05)
