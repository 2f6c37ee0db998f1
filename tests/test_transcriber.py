"""The recogniser as its users see it: real speech in, the same words out for any cutting and any company."""

import difflib
import itertools
import math
from collections.abc import Callable

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.normalizers import EnglishTextNormalizer

from benchmarks.speech_tars import Clip
from voicewire.asr.errors import AudioError, CapacityError, SettingsError
from voicewire.asr.events import Endpoint, Event, Flushed, SpeechStarted, Transcript, Word
from voicewire.asr.settings import StreamSettings
from voicewire.asr.stream import SETTLE_BLIND_S, SETTLE_S
from voicewire.asr.transcriber import BatchTranscriber, StreamingTranscriber

RATE = 16_000
normal = EnglishTextNormalizer()
Clips = Callable[[str, int], list[Clip]]


@pytest.fixture(scope="module")
def batch() -> BatchTranscriber:
    """Float32, so that equal means equal."""
    return BatchTranscriber.load("base", slots=5, precision="float32", widest_beam=4)


@pytest.fixture
def transcriber(batch: BatchTranscriber) -> StreamingTranscriber:
    transcriber = StreamingTranscriber(batch, StreamSettings())
    yield transcriber
    batch.close(transcriber._slot)


def words_of(events: list[Event]) -> list[Word]:
    return [word for event in events if isinstance(event, Transcript) for word in event.words]


def text_of(events: list[Event]) -> str:
    return "".join(word.text for word in words_of(events))


def wer(reference: str, events: list[Event]) -> float:
    return float(jiwer.wer(normal(reference), normal(text_of(events))))


def cut(samples: np.ndarray, places: list[int]) -> list[np.ndarray]:
    return np.split(samples, sorted(place % (len(samples) + 1) for place in places))


def run_batch(
    batch: BatchTranscriber, streams: list[list[np.ndarray]], **changes: object
) -> list[list[Event]]:
    """Feeds the streams' pieces in turn, stream k beginning k turns late, with a flush at each end."""
    slots = [batch.open(StreamSettings(**changes)) for _ in streams]
    events: dict[int, list[Event]] = {slot: [] for slot in slots}
    turns = max(len(pieces) + late for late, pieces in enumerate(streams))
    for turn in range(turns + 1):
        for late, (slot, pieces) in enumerate(zip(slots, streams, strict=True)):
            if 0 <= turn - late < len(pieces):
                batch.push(slot, pieces[turn - late])
            elif turn - late == len(pieces):
                batch.flush(slot)
        while news := batch.step():
            for slot, more in news.items():
                events[slot] += more
    for slot in slots:
        batch.close(slot)
    return [events[slot] for slot in slots]


def test_real_speech_becomes_its_words(transcriber: StreamingTranscriber, clips: Clips) -> None:
    errors = []
    for clip in clips("dev-00", 4):
        transcriber.reset()
        errors.append(wer(clip.text, transcriber.push(clip.samples) + transcriber.flush()))
    assert np.mean(errors) < 0.2, errors


@given(places=st.lists(st.integers(0, 10**6), max_size=20))
@settings(max_examples=4, deadline=None)
def test_any_cutting_gives_the_same_events(
    batch: BatchTranscriber, spoken: np.ndarray, places: list[int]
) -> None:
    whole, pieces = run_batch(batch, [[spoken[: 6 * RATE]], cut(spoken[: 6 * RATE], places)])
    assert text_of(whole).split()
    assert [(w.text, w.start_s, w.end_s) for w in words_of(whole)] == [
        (w.text, w.start_s, w.end_s) for w in words_of(pieces)
    ]


@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_company_does_not_change_the_text(
    batch: BatchTranscriber, spoken: np.ndarray, data: st.DataObject
) -> None:
    """Four streams of different speech that begin at different turns, cut at random, against each one alone."""
    speech = [spoken[k * 110_000 :][: 5 * RATE] for k in range(4)]
    places = st.lists(st.integers(0, 10**6), min_size=3, max_size=8)
    together = run_batch(batch, [cut(samples, data.draw(places)) for samples in speech])
    alone = [run_batch(batch, [[samples]])[0] for samples in speech]
    assert [text_of(events) for events in together] == [text_of(events) for events in alone]


def test_ticks_do_not_change_what_is_committed(batch: BatchTranscriber, spoken: np.ndarray) -> None:
    """Draft and verify, end to end: the tail is only ever a draft."""
    pieces = [spoken[: 12 * RATE]]
    with_tail, without, finer = (
        run_batch(batch, [pieces], **changes)[0] for changes in ({}, {"interim": False}, {"chunk_ms": 100})
    )
    assert text_of(with_tail) == text_of(without) == text_of(finer)
    assert any(event.tail for event in with_tail if isinstance(event, Transcript))
    assert not any(event.tail for event in without if isinstance(event, Transcript))


@pytest.mark.parametrize(
    ("changes", "least_s"),
    [
        ({}, SETTLE_S),
        ({"commit_ms": 600, "lookahead_ms": 200}, SETTLE_S),
        ({"commit_ms": 300}, SETTLE_BLIND_S),
    ],
)
def test_a_word_is_settled_when_enough_behind_it_was_heard(
    batch: BatchTranscriber, spoken: np.ndarray, changes: dict[str, int], least_s: float
) -> None:
    """But for those of an utterance that is over, and of the flush."""
    (events,) = run_batch(batch, [[spoken[: 20 * RATE]]], **changes)
    settled = [one for one, after in itertools.pairwise(events) if not isinstance(after, Endpoint | Flushed)]
    words = words_of(settled)
    assert len(words) > 15
    assert min(word.emitted_s - word.end_s for word in words) >= least_s - 0.021  # a frame of rounding


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        (StreamSettings(), 20),
        (StreamSettings(commit_ms=300), 0),
        (StreamSettings(commit_ms=300, lookahead_ms=100), 5),
        (StreamSettings(lookahead_ms=0), 0),
    ],
)
def test_the_single_pass_does_not_look_ahead_unless_asked(settings: StreamSettings, frames: int) -> None:
    assert settings.lookahead_frames == frames


@pytest.mark.parametrize("lookahead_ms", [-20, 30, 620, 1.5, True])
def test_an_impossible_lookahead_is_refused(lookahead_ms: object) -> None:
    with pytest.raises(SettingsError, match="lookahead_ms"):
        StreamSettings(lookahead_ms=lookahead_ms)


def test_words_come_in_order_inside_the_audio(transcriber: StreamingTranscriber, spoken: np.ndarray) -> None:
    events = transcriber.push(spoken[: 20 * RATE]) + transcriber.flush()
    words = words_of(events)
    assert len(words) > 20
    for word, after in itertools.pairwise(words):
        assert word.start_s <= word.end_s <= 20.0
        assert word.end_s <= after.end_s
        assert word.end_s - 0.05 <= word.emitted_s
        assert word.emitted_s <= after.emitted_s
        assert 0 < word.probability <= 1
    processed = [event.processed_s for event in events if isinstance(event, Transcript)]
    assert processed == sorted(processed)


def test_times_are_better_than_the_tick(transcriber: StreamingTranscriber, clips: Clips) -> None:
    wrong = []
    for clip in (clip for clip in clips("words-00", 16) if clip.words):
        transcriber.reset()
        said = words_of(transcriber.push(clip.samples) + transcriber.flush())
        said = [word for word in said if normal(word.text)]
        if [normal(word.text) for word in said] == [normal(word.text) for word in clip.words]:
            for word, truth in zip(said, clip.words, strict=True):
                wrong += [abs(word.start_s - truth.start_s), abs(word.end_s - truth.end_s)]
    assert len(wrong) > 40
    assert np.mean(wrong) < 0.12
    assert np.median(wrong) < 0.06


def test_a_flush_gives_the_last_words_and_the_stream_goes_on(
    transcriber: StreamingTranscriber, clips: Clips
) -> None:
    first, second = clips("dev-00", 2)
    events = transcriber.push(first.samples) + transcriber.flush("one")
    assert wer(first.text, events) < 0.35
    more = transcriber.push(second.samples) + transcriber.flush("two")
    assert wer(second.text, more) < 0.35
    start_s = len(first.samples) / RATE
    assert all(word.start_s >= start_s - 0.3 for word in words_of(more))
    again = transcriber.flush("three")
    assert words_of(again) == []
    assert [event.tag for event in (*events, *more, *again) if isinstance(event, Flushed)] == [
        "one",
        "two",
        "three",
    ]


def test_flush_before_any_audio(transcriber: StreamingTranscriber) -> None:
    assert transcriber.flush("empty") == [Flushed("empty", 0.0)]
    assert transcriber.push(np.zeros(100, np.float32)) == []
    assert [type(event) for event in transcriber.flush()] == [Flushed]


@pytest.mark.parametrize("beam", [1, 4])
def test_utterances_end_at_pauses_after_their_words(batch: BatchTranscriber, clips: Clips, beam: int) -> None:
    pause = np.zeros(2 * RATE, np.float32)
    first, second = clips("dev-01", 2)
    (events,) = run_batch(batch, [[first.samples, pause, second.samples, pause]], beam=beam)
    ends = [event for event in events if isinstance(event, Endpoint)]
    starts = [event for event in events if isinstance(event, SpeechStarted)]
    assert len(starts) >= 2
    assert len(ends) >= 2
    assert [event.utterance for event in ends] == list(range(len(ends)))
    said: dict[int, str] = {}
    for event in events:
        if isinstance(event, Transcript):
            said[event.utterance] = said.get(event.utterance, "") + "".join(word.text for word in event.words)
        if isinstance(event, Endpoint):
            assert event.text == said[event.utterance].strip()
    assert " ".join(event.text for event in ends) == text_of(events).strip()


def test_silence_and_digital_silence_say_nothing_and_keep_the_clock(
    transcriber: StreamingTranscriber,
) -> None:
    hiss = np.random.default_rng(7).normal(0, 1e-3, 20 * RATE).astype(np.float32)
    events = transcriber.push(np.zeros(20 * RATE, np.float32)) + transcriber.push(hiss) + transcriber.flush()
    assert [event for event in events if isinstance(event, Transcript)] == []
    assert events == [Flushed(None, 40.0)]


def test_speech_after_silence_has_its_own_time(transcriber: StreamingTranscriber, clips: Clips) -> None:
    """Not a sample of the silence is lost from the clock, though neither encoder nor decoder made words of it."""
    (clip,) = clips("dev-01", 1)
    alone = words_of(transcriber.push(clip.samples) + transcriber.flush())
    transcriber.reset()
    silence = np.zeros(45 * RATE, np.float32)
    later = words_of(transcriber.push(silence) + transcriber.push(clip.samples) + transcriber.flush())
    texts = [[normal(word.text) for word in words] for words in (alone, later)]
    same = [
        (alone[a + i], later[b + i])
        for a, b, count in difflib.SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
        for i in range(count)
    ]
    assert len(same) >= len(alone) // 2
    # Blocks lie otherwise in the two, so a word may be heard at a slightly different place; the clock is one.
    apart = [abs(there.start_s - 45 - here.start_s) for here, there in same]
    assert np.median(apart) < 0.1
    assert max(apart) < 1.0


@pytest.mark.parametrize("cut_s", [0.7, 4.567, 17.3])
def test_a_restored_stream_goes_on_as_if_nothing_happened(
    batch: BatchTranscriber, transcriber: StreamingTranscriber, spoken: np.ndarray, cut_s: float
) -> None:
    speech, at = spoken[: 20 * RATE], int(cut_s * RATE)
    before = transcriber.push(speech[:at])
    saved = transcriber.snapshot()
    after = transcriber.push(speech[at:]) + transcriber.flush()
    transcriber.restore(saved)
    assert transcriber.push(speech[at:]) + transcriber.flush() == after
    assert words_of(before + after)


def test_settings_change_while_it_runs(transcriber: StreamingTranscriber, spoken: np.ndarray) -> None:
    events = transcriber.push(spoken[: 5 * RATE])
    transcriber.configure(chunk_ms=100, commit_ms=600)
    slow = len([event for event in events if isinstance(event, Transcript)])
    more = transcriber.push(spoken[5 * RATE : 10 * RATE]) + transcriber.flush()
    assert len([event for event in more if isinstance(event, Transcript)]) > 2 * slow
    assert text_of(more).split()
    with pytest.raises(SettingsError, match="chunk_ms"):
        transcriber.configure(chunk_ms=90)


def test_bad_audio_and_full_slots_are_refused(batch: BatchTranscriber) -> None:
    slots = [batch.open(StreamSettings()) for _ in range(batch.free_slots)]
    with pytest.raises(CapacityError, match="slots are taken"):
        batch.open(StreamSettings())
    for bad in (np.zeros((2, 5), np.float32), np.zeros(5), np.array([math.nan], np.float32)):
        with pytest.raises(AudioError):
            batch.push(slots[0], bad)
    for slot in slots:
        batch.close(slot)
    assert batch.free_slots == batch.capacity
    with pytest.raises(SettingsError, match="language"):
        batch.open(StreamSettings(language="xx"))


def test_empty_push_is_nothing(transcriber: StreamingTranscriber) -> None:
    assert transcriber.push(np.zeros(0, np.float32)) == []
