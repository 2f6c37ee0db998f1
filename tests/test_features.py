"""The encoder's output as a stream of its own, and words made of it again."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.speech_tars import Clip
from benchmarks.word_errors import count_errors, total
from voicewire.asr import masked
from voicewire.asr.errors import AudioError, CapacityError, SnapshotError, WeightsError
from voicewire.asr.events import Event, Flushed, Transcript
from voicewire.asr.features import AHEAD, BLOCK, KEPT, WINDOW, FeatureSource
from voicewire.asr.mel import log_mel
from voicewire.asr.model import CausalWhisper
from voicewire.asr.places import estimate_places, find_places
from voicewire.asr.settings import FRAME_SAMPLES, StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

few_examples = settings(max_examples=3)
RATE = 16_000


@pytest.fixture(scope="module")
def transcriber() -> BatchTranscriber:
    return BatchTranscriber.load(slots=4)


@pytest.fixture(scope="module")
def source(transcriber: BatchTranscriber) -> FeatureSource:
    return transcriber.feature_source


def features_of(source: FeatureSource, samples: np.ndarray) -> np.ndarray:
    """Of the samples' whole frames."""
    streams = source.streams(1)
    slot = streams.open()
    whole = np.concatenate([streams.push(slot, samples), streams.flush(slot)])
    return whole[: len(samples) // FRAME_SAMPLES]


# ---- audio to features


@few_examples
@given(places=st.lists(st.integers(0, 16 * RATE), max_size=4).map(sorted), seed=st.integers(0, 99))
def test_no_bit_depends_on_cutting_or_company(
    source: FeatureSource, spoken: np.ndarray, places: list[int], seed: int
) -> None:
    """14 s: across the end of a window."""
    samples = spoken[: 14 * RATE]
    streams = source.streams(2)
    other, slot = streams.open(), streams.open()
    made = []
    for number, piece in enumerate(np.split(samples, places)):
        made.append(streams.push(slot, piece))
        streams.push(other, spoken[(seed + number) * RATE :][: RATE * 2])
    made.append(streams.flush(slot))
    alone = source.streams(1)
    assert np.array_equal(np.concatenate(made), np.concatenate([
        alone.push(alone.open(), samples), alone.flush(0)
    ]))  # fmt: skip


def test_a_block_is_that_of_the_masked_encoder(model: CausalWhisper, spoken: np.ndarray) -> None:
    source = FeatureSource(model, torch.zeros(WINDOW, model.dims.n_audio_state), "", "")
    features = torch.from_numpy(features_of(source, spoken[: 2 * RATE]))
    front = masked.convolve(model, log_mel(torch.from_numpy(spoken[: 2 * RATE])))
    wanted = masked.encode(model, front[: BLOCK + AHEAD], [BLOCK + AHEAD])[:BLOCK]
    assert (features[:BLOCK] - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_a_window_is_as_if_the_stream_had_begun_with_what_it_keeps(
    source: FeatureSource, spoken: np.ndarray
) -> None:
    """But for the spectrogram's clamp and its first frames."""
    start = WINDOW - KEPT
    old = features_of(source, spoken[: 16 * RATE])[WINDOW:]
    new = features_of(source, spoken[start * FRAME_SAMPLES : 16 * RATE])[KEPT:]
    assert len(old) == len(new) == 200
    assert np.abs(old - new).mean() < 0.05 * np.abs(old).mean()


@few_examples
@given(at=st.integers(0, 14 * RATE))
def test_a_restored_stream_goes_on_bit_for_bit(source: FeatureSource, spoken: np.ndarray, at: int) -> None:
    samples = spoken[: 14 * RATE]
    streams, others = source.streams(1), source.streams(2)
    slot = streams.open()
    streams.push(slot, samples[:at])
    others.open()
    there = others.open()
    others.push(there, spoken[20 * RATE : 23 * RATE])
    others.restore(there, streams.snapshot(slot))
    for one, other in (
        (streams.push(slot, samples[at:]), others.push(there, samples[at:])),
        (streams.flush(slot), others.flush(there)),
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("samples", [0, 1, 19_199, 19_200, 19_201, 12 * RATE + 1])
def test_a_flush_gives_whole_blocks_up_to_the_last_sample(
    source: FeatureSource, spoken: np.ndarray, samples: int
) -> None:
    streams = source.streams(1)
    slot = streams.open()
    given_frames = len(streams.push(slot, spoken[:samples])) + len(streams.flush(slot))
    assert given_frames == -(-samples // (BLOCK * FRAME_SAMPLES)) * BLOCK
    assert len(streams.flush(slot)) == 0


def test_slots_and_what_is_no_audio(source: FeatureSource) -> None:
    streams = source.streams(1)
    slot = streams.open()
    with pytest.raises(CapacityError):
        streams.open()
    with pytest.raises(AudioError):
        streams.push(slot, np.zeros(10, np.float64))
    with pytest.raises(AudioError):
        streams.push(slot, np.full(10, np.nan, np.float32))
    for wrong in (b"", bytes(100), streams.snapshot(slot)[:-1]):
        with pytest.raises(SnapshotError):
            streams.restore(slot, wrong)
    streams.close(slot)
    assert streams.free == 1


# ---- features to words


def read(
    transcriber: BatchTranscriber, features: np.ndarray, pieces: int = 1, beam: int = 1
) -> tuple[str, list[Event]]:
    slot = transcriber.open(StreamSettings(interim=False, beam=beam))
    events: list[Event] = []
    for piece in np.array_split(features, pieces):
        transcriber.push_features(slot, piece)
        events += _drain(transcriber, slot)
    transcriber.flush(slot, "end")
    events += _drain(transcriber, slot)
    transcriber.close(slot)
    return text_of(events), events


def _drain(transcriber: BatchTranscriber, slot: int) -> list[Event]:
    events: list[Event] = []
    while turn := transcriber.step():
        events += turn.get(slot, [])
    return events


def text_of(events: list[Event]) -> str:
    return "".join(w.text for event in events if isinstance(event, Transcript) for w in event.words)


def test_words_come_back_from_features(
    transcriber: BatchTranscriber, source: FeatureSource, clips: Callable[[str, int], list[Clip]]
) -> None:
    """Clips of up to 16 s, so across windows too."""
    errors = []
    for clip in clips("dev-00", 5):
        text, events = read(transcriber, features_of(source, clip.samples))
        errors.append(count_errors(clip.text, text))
        words = [w for event in events if isinstance(event, Transcript) for w in event.words]
        assert all(0 <= w.start_s <= w.end_s <= clip.duration + 0.7 for w in words)
        assert isinstance(events[-1], Flushed)
        assert events[-1].tag == "end"
    rate = total(errors).rate
    assert rate is not None
    assert rate < 0.12


def test_reading_does_not_depend_on_the_pieces(
    transcriber: BatchTranscriber, source: FeatureSource, spoken: np.ndarray
) -> None:
    features = features_of(source, spoken[: 20 * RATE])
    whole, events = read(transcriber, features)
    cut, others = read(transcriber, features, pieces=37)
    assert whole == cut
    assert len(whole.split()) > 25
    assert text_of(events) == text_of(others)


def test_where_nobody_speaks_nothing_is_read(transcriber: BatchTranscriber, source: FeatureSource) -> None:
    features = features_of(source, np.zeros(10 * RATE, np.float32))
    slot = transcriber.open(StreamSettings())
    transcriber.push_features(slot, features, np.zeros(len(features), np.float32))
    transcriber.flush(slot)
    events = _drain(transcriber, slot)
    transcriber.close(slot)
    assert [type(event) for event in events] == [Flushed]


def test_a_snapshot_of_a_reading_stream_goes_on(
    transcriber: BatchTranscriber, source: FeatureSource, spoken: np.ndarray
) -> None:
    features = features_of(source, spoken[: 16 * RATE])
    slot = transcriber.open(StreamSettings(interim=False))
    transcriber.push_features(slot, features[:650])
    before = text_of(_drain(transcriber, slot))
    transcriber.push_features(slot, features[650:])
    there = transcriber.restore(transcriber.snapshot(slot))
    for each in (slot, there):
        transcriber.flush(each)
    texts = {slot: before, there: before}
    while turn := transcriber.step():
        for each, events in turn.items():
            texts[each] += text_of(events)
    transcriber.close(slot)
    transcriber.close(there)
    assert texts[slot] == texts[there] == read(transcriber, features)[0]


def test_a_stream_goes_on_with_what_it_began_with(transcriber: BatchTranscriber) -> None:
    """What is asked of it before it begins is answered all the same."""
    audio, features = transcriber.open(StreamSettings()), transcriber.open(StreamSettings())
    transcriber.push(audio, np.zeros(300, np.float32))
    transcriber.push(features, np.zeros(0, np.float32))
    transcriber.flush(features, "early")
    transcriber.configure(features, StreamSettings(chunk_ms=100))
    transcriber.push_features(features, np.zeros((3, 512), np.float32))
    with pytest.raises(AudioError):
        transcriber.push_features(audio, np.zeros((3, 512), np.float32))
    with pytest.raises(AudioError):
        transcriber.push(features, np.zeros(300, np.float32))
    for wrong in (np.zeros((3, 511)), np.zeros(512), np.full((3, 512), np.inf)):
        with pytest.raises(AudioError):
            transcriber.push_features(features, wrong.astype(np.float32))
    with pytest.raises(AudioError):
        transcriber.push_features(features, np.zeros((3, 512), np.float32), np.zeros(4, np.float32))
    assert Flushed("early", 0.0) in _drain(transcriber, features)
    transcriber.close(audio)
    transcriber.close(features)


# ---- places


def test_places_belong_to_one_encoder() -> None:
    with pytest.raises(WeightsError, match="quantise"):
        find_places("0" * 64, "1" * 64)


def test_places_are_smooth_and_centred() -> None:
    means = torch.randn(700, 8, generator=torch.Generator().manual_seed(0)).cumsum(0)
    table = estimate_places(means)
    assert table.shape == (800, 8)
    assert table[:700].mean(0).abs().max() < 1e-3
    assert torch.equal(table[-1], table[699])
