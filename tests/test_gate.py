"""Voice activity, speech gate and utterance: exact as streams, right about real speech and real noise."""

import json
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.speech_tars import Clip
from voicewire.asr.errors import AudioError, WeightsError
from voicewire.asr.events import Endpoint, Word
from voicewire.asr.gate import HISTORY_CHUNKS, GateSettings, SpeechGate
from voicewire.asr.utterance import WORDLESS_S, Utterance
from voicewire.asr.voice_activity import CHUNK_S, CHUNK_SAMPLES, VoiceActivity, VoiceState, model_file

Clips = Callable[[str, int], list[Clip]]


@pytest.fixture(scope="module")
def activity() -> VoiceActivity:
    return VoiceActivity()


@pytest.fixture(scope="module")
def speech(clips: Clips) -> np.ndarray:
    """Three utterances with pauses of two seconds, 30 s and more."""
    pieces = [part for clip in clips("dev-00", 3) for part in (clip.samples, np.zeros(32_000, np.float32))]
    return np.concatenate(pieces)


def pieces_of(samples: np.ndarray, cuts: Iterable[int]) -> list[np.ndarray]:
    return [samples[a:b] for a, b in pairwise([0, *sorted(cuts), len(samples)])]


def segments(gate: SpeechGate, probabilities: np.ndarray, step: int = 10) -> list[tuple[float, float]]:
    """Where the gate was open, heard tick by tick as a stream is."""
    found: list[tuple[float, float]] = []
    for first in range(0, len(probabilities), step):
        was_open = gate.speaking
        starts = gate.advance(probabilities[first : first + step])
        found += [(start, start) for start in starts]
        if found and (was_open or starts):
            found[-1] = (found[-1][0], gate.heard_s)
    return found


# Voice activity


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_cutting_gives_the_same_probabilities(
    activity: VoiceActivity, speech: np.ndarray, data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(speech) - 64_000))
    samples = speech[begin : begin + data.draw(st.integers(0, 64_000))]
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=40))
    whole, pieced = VoiceState(), VoiceState()
    expected = activity.push(whole, samples)
    assert len(expected) == len(samples) // CHUNK_SAMPLES
    got = np.concatenate([activity.push(pieced, piece) for piece in pieces_of(samples, cuts)])
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert pieced.chunks == whole.chunks == len(expected)
    assert pieced.heard_s == len(expected) * CHUNK_S
    assert len(pieced.rest) == len(samples) % CHUNK_SAMPLES
    np.testing.assert_allclose(pieced.hidden, whole.hidden, atol=1e-5)


def test_it_is_silero_chunk_by_chunk(activity: VoiceActivity, speech: np.ndarray) -> None:
    """The offline twin in a few lines: the package's one-chunk model, its context and state carried by hand."""
    loud = speech[: 16_000 * 10] / np.abs(speech[: 16_000 * 10]).max() * 0.9
    # The gain is 1 from the first chunk on where that is loud, and stays so for seconds after it.
    loud[:CHUNK_SAMPLES] = 0.9 * np.sin(np.arange(CHUNK_SAMPLES) / 3)
    session = onnxruntime.InferenceSession(str(model_file().with_name("silero_vad.onnx")))
    state, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    count = 80
    for i in range(count):
        chunk = loud[i * CHUNK_SAMPLES : (i + 1) * CHUNK_SAMPLES]
        feed = {"input": np.concatenate([context, chunk])[None], "state": state, "sr": np.array(16_000)}
        output, state = session.run(None, feed)
        context = chunk[-64:]
        expected.append(output[0, 0])
    got = activity.push(VoiceState(), loud[: count * CHUNK_SAMPLES].astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert max(expected) > 0.9


def test_several_streams_get_what_each_gets_alone(activity: VoiceActivity, speech: np.ndarray) -> None:
    parts = [speech[:50_000], speech[20_000:20_100], speech[40_000:90_000], speech[:0]]
    alone = [activity.push(VoiceState(), part) for part in parts]
    together = activity.push_many([VoiceState() for _ in parts], parts)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_soft_speech_is_heard_as_loud_speech_is(activity: VoiceActivity, speech: np.ndarray) -> None:
    loud = segments(SpeechGate(), activity.push(VoiceState(), speech))
    soft = segments(SpeechGate(), activity.push(VoiceState(), speech * np.float32(0.01)))
    assert len(loud) >= 3
    assert sum(b - a for a, b in soft) == pytest.approx(sum(b - a for a, b in loud), rel=0.05)


def test_the_state_survives_a_snapshot(activity: VoiceActivity, speech: np.ndarray) -> None:
    state = VoiceState()
    activity.push(state, speech[:40_123])
    copy = VoiceState.from_arrays(state.to_arrays())
    following = activity.push(state, speech[40_123:80_000])
    np.testing.assert_array_equal(activity.push(copy, speech[40_123:80_000]), following)
    damaged = copy.to_arrays()
    for name in damaged:
        with pytest.raises(ValueError, match="voice activity"):
            VoiceState.from_arrays({key: value for key, value in damaged.items() if key != name})
    with pytest.raises(ValueError, match="rest"):
        VoiceState.from_arrays(damaged | {"rest": np.zeros(512, np.float32)})


def test_what_is_no_audio_is_refused(activity: VoiceActivity) -> None:
    for samples in (np.zeros(512, np.int16), np.zeros((1, 512), np.float32)):
        with pytest.raises(AudioError, match="one row of float32"):
            activity.push(VoiceState(), samples)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicewire.asr.voice_activity._PACKAGE", "silero-vad-that-is-not-there")
    with pytest.raises(WeightsError, match=r"voicewire\[server\]"):
        VoiceActivity()


# The gate on real sound


def covered(spans: list[tuple[float, float]], start_s: float, end_s: float) -> float:
    return sum(max(0.0, min(b, end_s) - max(a, start_s)) for a, b in spans)


def test_no_word_of_real_speech_is_lost(activity: VoiceActivity, clips: Clips) -> None:
    total = inside = 0.0
    timed = [clip for name in ("dev-00", "words-00") for clip in clips(name, 40) if clip.words]
    assert len(timed) >= 40
    for clip in timed:
        tail = np.zeros(16_000, np.float32)
        spans = segments(SpeechGate(), activity.push(VoiceState(), np.concatenate([clip.samples, tail])))
        for word in clip.words:
            share = covered(spans, word.start_s, word.end_s)
            assert share > 0, f"{word} of {clip.key} lies outside {spans}"
            total, inside = total + word.end_s - word.start_s, inside + share
    assert inside / total > 0.995


def test_every_accent_opens_the_gate(activity: VoiceActivity, clips: Clips) -> None:
    for clip in clips("dev-01", 30):
        gate = SpeechGate()
        gate.advance(activity.push(VoiceState(), clip.samples))
        assert gate.started_s is not None, clip.key


def test_noise_leaves_the_gate_shut_nearly_always(activity: VoiceActivity, clips: Clips) -> None:
    noises = clips("noise-00", 80)
    spans = [segments(SpeechGate(), activity.push(VoiceState(), clip.samples)) for clip in noises]
    opened = sum(b - a for found in spans for a, b in found)
    assert opened / sum(clip.duration for clip in noises) < 0.05
    assert sum(bool(found) for found in spans) < 0.25 * len(noises)


def test_silence_and_steady_noise_never_open_it(activity: VoiceActivity) -> None:
    hiss = np.random.default_rng(0).standard_normal(16_000 * 60).astype(np.float32)
    for loudness in (0.0, 1e-4, 1e-2, 0.3):
        gate = SpeechGate()
        assert gate.advance(activity.push(VoiceState(), hiss * np.float32(loudness))) == []
        assert not gate.speaking
        assert gate.heard_s == 60.0


def test_words_are_more_certain_than_noises(activity: VoiceActivity, clips: Clips) -> None:
    words, noises = [], []
    for clip in clips("dev-00", 40):
        gate = SpeechGate()
        gate.advance(activity.push(VoiceState(), clip.samples))
        words += [gate.certainty(word.start_s, word.end_s) for word in clip.words]
    for clip in clips("noise-00", 246):
        gate = SpeechGate()
        spans = segments(gate, activity.push(VoiceState(), clip.samples))
        noises += [gate.certainty(a, b) for a, b in spans]
    assert len(words) > 100
    assert len(noises) > 10
    assert np.mean(np.array(words) >= 0.9) > 0.99
    assert np.mean(np.array(noises) < 0.9) > 0.6


# The gate's logic

probability_lists = st.lists(st.floats(0, 1, width=32), max_size=200).map(lambda p: np.array(p, np.float32))


@given(probabilities=probability_lists, cuts=st.lists(st.integers(0, 200), max_size=10))
@settings(max_examples=200, deadline=None)
def test_any_cutting_gives_the_same_gate(probabilities: np.ndarray, cuts: list[int]) -> None:
    whole, pieced = SpeechGate(), SpeechGate()
    expected = whole.advance(probabilities)
    cuts = [min(cut, len(probabilities)) for cut in cuts]
    got = [start for piece in pieces_of(probabilities, cuts) for start in pieced.advance(piece)]
    assert (got, pieced) == (expected, whole)
    assert pieced.heard_s == len(probabilities) * CHUNK_S  # the clock counts every chunk, speech or not


@given(probabilities=probability_lists, cut=st.integers(0, 200))
@settings(max_examples=100, deadline=None)
def test_the_gate_survives_a_snapshot(probabilities: np.ndarray, cut: int) -> None:
    gate = SpeechGate()
    gate.advance(probabilities[:cut])
    facts, arrays = gate.save()
    copy = SpeechGate.restore(json.loads(json.dumps(facts)), arrays)
    assert copy == gate
    assert copy.advance(probabilities[cut:]) == gate.advance(probabilities[cut:])
    assert copy == gate


@given(probabilities=probability_lists)
@settings(max_examples=200, deadline=None)
def test_openings_are_in_order_and_never_overlap(probabilities: np.ndarray) -> None:
    gate = SpeechGate()
    starts = gate.advance(probabilities)
    assert starts == sorted(starts)
    assert all(0 <= start <= gate.heard_s for start in starts)
    ended = [end for _, end in gate._past]
    assert all(start >= end for start, end in zip(starts[1:], ended, strict=False))
    if starts:
        assert gate.started_s == starts[-1]


def chunks(*runs: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(count, value, np.float32) for value, count in runs])


def test_speech_opens_at_once_and_closes_after_the_hangover() -> None:
    gate = SpeechGate(GateSettings(pad_s=0.2))
    assert gate.advance(chunks((0.0, 20))) == []
    assert gate.pause_s == pytest.approx(20 * CHUNK_S)
    assert gate.advance(chunks((0.9, 1))) == []  # one chunk may be a click
    (start,) = gate.advance(chunks((0.9, 9)))
    assert start == pytest.approx(20 * CHUNK_S - 0.2)
    assert gate.speaking
    assert gate.pause_s == 0
    gate.advance(chunks((0.0, 9)))
    assert gate.speaking  # in the hangover
    gate.advance(chunks((0.0, 1)))
    assert not gate.speaking
    assert gate.ended_s == pytest.approx(30 * CHUNK_S)
    assert gate.pause_s == pytest.approx(10 * CHUNK_S)
    assert gate.speech_in(0.9, 1.0)
    assert gate.speech_in(30 * CHUNK_S, 31 * CHUNK_S)  # the hangover counts
    assert not gate.speech_in(0.0, start)
    assert not gate.speech_in(40 * CHUNK_S, 50.0)


def test_a_click_is_forgotten_and_a_short_gap_bridged() -> None:
    gate = SpeechGate()
    assert gate.advance(chunks((0.9, 1), (0.0, 5), (0.9, 1), (0.0, 5))) == []
    (start,) = gate.advance(chunks((0.9, 1), (0.1, 2), (0.9, 1)))
    assert start == pytest.approx(12 * CHUNK_S - gate.settings.pad_s)
    gate.advance(chunks((0.0, 8), (0.2, 1), (0.0, 8)))
    assert gate.speaking  # every chunk from `off` begins the hangover anew


def test_speech_begins_at_once_and_the_past_is_bounded() -> None:
    gate = SpeechGate()
    assert gate.advance(chunks((1.0, 2))) == [0.0]  # never before the stream
    gate.advance(chunks((0.0, 20)))
    for _ in range(100):
        gate.advance(chunks((1.0, 20), (0.0, 20)))
    assert len(gate._past) <= HISTORY_CHUNKS / 40 + 2
    assert len(gate._probabilities) == HISTORY_CHUNKS
    assert not gate.speech_in(0.0, 1.0)
    assert gate.certainty(0.0, 1.0) == 0.0
    assert gate.certainty(gate.heard_s - 2.0, gate.heard_s - 1.0) > 0.9


# The utterance


def word(start_s: float, end_s: float) -> Word:
    return Word(" word", start_s, end_s, 0.9, end_s)


def test_a_pause_after_words_ends_the_utterance() -> None:
    gate, utterance = SpeechGate(), Utterance(number=3)
    gate.advance(chunks((0.0, 50)))
    assert not utterance.is_over(gate, 700)  # a pause, but no words
    gate.advance(chunks((1.0, 50)))
    utterance.add([word(1.7, 2.2), word(2.2, 3.1)])
    assert not utterance.is_over(gate, 700)
    gate.advance(chunks((0.0, 21)))
    assert not utterance.is_over(gate, 700)  # 0.67 s
    gate.advance(chunks((0.0, 1)))
    assert utterance.is_over(gate, 700)
    assert utterance.endpoint() == Endpoint(3, 1.7, 3.1, "word word")


def test_a_word_that_ends_later_than_the_gate_counts() -> None:
    gate, utterance = SpeechGate(), Utterance()
    gate.advance(chunks((1.0, 30), (0.0, 20)))
    utterance.add([word(0.5, 1.3)])
    assert gate.pause_s == pytest.approx(0.64)
    assert utterance.pause_s(gate) == pytest.approx(0.3)
    assert not utterance.is_over(gate, 500)


def test_music_does_not_hold_an_utterance_open_for_ever() -> None:
    gate, utterance = SpeechGate(), Utterance()
    utterance.add([word(0.5, 1.0)])
    gate.advance(chunks((0.9, int((1.0 + 0.7 + WORDLESS_S) / CHUNK_S))))
    assert not utterance.is_over(gate, 700)
    gate.advance(chunks((0.9, 2)))
    assert gate.speaking
    assert utterance.is_over(gate, 700)
