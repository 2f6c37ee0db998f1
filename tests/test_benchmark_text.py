"""What the benchmarks say of text that changes: looks, interim errors, stability, marks; times by alignment."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.batch import Job, transcribe_jobs
from benchmarks.forced_alignment import ForcedAligner
from benchmarks.interim_errors import TimedToken, interim_errors, timed_tokens
from benchmarks.marks import KINDS, count_marks, total_marks
from benchmarks.reference_times import ReferenceTimes
from benchmarks.speech_tars import Clip, ReferenceWord, SpeechTar
from benchmarks.stability import Stability, stability
from benchmarks.trace import Trace
from benchmarks.transcript_cache import TranscriptCache
from benchmarks.word_errors import WordErrors, count_errors
from voicewire.asr.events import Transcript, Word
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(f" {one}", 0.0, 0.0, 1.0, 0.0) for one in text.split())


def trace(*looks: tuple[float, str, str]) -> Trace:
    """Of (time, newly committed words, tail)."""
    found = Trace()
    for time_s, committed, tail in looks:
        found.see(Transcript(words(committed), words(tail), 0, time_s))
    return found


def spoken(text: str) -> list[ReferenceWord]:
    """One word a second, each taking half of it."""
    return [ReferenceWord(word, at + 0.5, at + 1.0) for at, word in enumerate(text.split())]


def test_what_is_shown_is_what_the_last_look_left() -> None:
    found = trace((0.3, "", "a"), (0.6, "a", "pig"), (0.9, "big dog", ""))
    shown = ["".join(word.text for word in found.shown_at(time_s)) for time_s in (0.2, 0.3, 0.7, 5.0)]
    assert shown == ["", " a", " a pig", " a big dog"]
    assert found.text == "a big dog"
    assert Trace.from_text(found.as_text()) == found


def test_a_word_is_judged_a_moment_after_it_ended_and_never_again() -> None:
    reference = timed_tokens(spoken("one big dog ran"))
    steady = trace((1.1, "", "one"), (2.1, "one", "big"), (3.1, "big", "dog"), (4.1, "dog ran", ""))
    assert interim_errors(reference, steady) == WordErrors(4, 0, 0, 0)
    late = trace((1.1, "", "one"), (2.7, "one big", ""), (3.1, "", "dog"), (4.1, "dog ran", ""))
    assert interim_errors(reference, late) == WordErrors(4, 0, 1, 0)
    assert interim_errors(reference, late, patience_s=0.8) == WordErrors(4, 0, 0, 0)
    mended = trace((1.1, "", "one"), (2.1, "", "one pig"), (3.1, "one big", "dog"), (4.1, "dog ran", ""))
    assert interim_errors(reference, mended) == WordErrors(4, 1, 0, 0)
    assert count_errors("one big dog ran", mended.text).errors == 0


def test_words_that_nobody_said_count_even_if_they_are_taken_back() -> None:
    reference = timed_tokens(spoken("one big dog ran"))
    stammer = trace((1.1, "", "one"), (2.1, "one", "uncle big"), (3.1, "big", "dog"), (4.1, "dog ran", ""))
    assert interim_errors(reference, stammer) == WordErrors(4, 0, 0, 1)
    behind = trace((1.1, "one", ""), (2.1, "big", ""), (3.1, "dog", ""), (4.1, "ran thank you", ""))
    assert interim_errors(reference, behind) == WordErrors(4, 0, 0, 2)
    assert interim_errors([], trace((1.0, "thank you", ""))) == WordErrors(0, 0, 0, 2)


@pytest.mark.parametrize(
    "hypothesis", ["one big dog ran", "won big a dog", "dog ran one", "", "a b c d e f g"]
)
def test_with_patience_without_end_interim_errors_are_the_errors(hypothesis: str) -> None:
    reference = timed_tokens(spoken("one big dog ran"))
    found = interim_errors(reference, trace((1.0, "", "what"), (4.0, hypothesis, "")), patience_s=60)
    assert found == count_errors("one big dog ran", hypothesis)


def test_times_follow_words_through_the_normaliser() -> None:
    found = timed_tokens(spoken("MISTER COLOUR UM HAS TWENTY ONE DOGS"))
    assert found[0] == TimedToken("mister", 0.5, 1.0)
    assert found[1] == TimedToken("color", 1.5, 2.0)
    assert found[-2:] == [TimedToken("21", 4.5, 6.0), TimedToken("dogs", 6.5, 7.0)]


def test_the_tail_s_words_are_followed_from_look_to_look() -> None:
    assert stability(trace((0.3, "", "the cat"), (0.6, "The cat,", "sat"), (0.9, "sat", ""))) == Stability(
        3, 0
    )
    changed = trace((0.3, "", "a cat"), (0.6, "", "the cat"), (0.9, "the cat", ""))
    assert stability(changed) == Stability(3, 1)
    shifted = trace((0.3, "", "big house"), (0.6, "", "the big house"), (0.9, "the big house", ""))
    assert stability(shifted) == Stability(3, 0)
    vanished = trace((0.3, "", "uncle"), (0.6, "", ""), (0.9, "the", "end"))
    assert stability(vanished) == Stability(2, 2)
    assert stability(trace((0.3, "the", ""))) == Stability(0, 0)


def test_marks_are_compared_on_the_words_that_both_have() -> None:
    text = 'Well, he said: "Go home." Did he? No!'
    same = count_marks(text, text)
    assert {kind: count.f1 for kind, count in same.items()} == dict.fromkeys(KINDS, 1.0)
    assert (same["stop"].wanted, same["comma"].wanted, same["capital"].wanted) == (3, 2, 4)
    bare = count_marks(text, "well he said go home did he no")
    assert [count.f1 for count in bare.values()] == [0.0, 0.0, 0.0]
    assert [count.precision for count in bare.values()] == [None, None, None]
    one = count_marks("A dog, a cat. He ran.", "A dog. a cat, she ran.")
    assert (one["stop"].wanted, one["stop"].given, one["stop"].hits) == (2, 2, 1)
    assert (one["comma"].precision, one["comma"].recall) == (0.0, 0.0)
    assert total_marks([one, one])["stop"].hits == 2
    assert count_marks("", "Thank you.")["stop"].f1 is None


def test_a_text_is_aligned_with_its_sound(
    speech_tar: Callable[[str], Path], clips: Callable[[str, int], list[Clip]], tmp_path: Path
) -> None:
    """Against times set by hand; and what was aligned once is kept."""
    aligner = ForcedAligner("base")
    known = [clip for clip in clips("words-00", 8) if clip.corpus == "timit-sample"]
    pairs = [
        (here, there)
        for clip in known
        for here, there in zip(aligner.align(clip.samples, clip.text), clip.words, strict=True)
    ]
    assert np.median([abs(here.end_s - there.end_s) for here, there in pairs]) < 0.12
    with pytest.raises(ValueError, match="up to 30 s"):
        aligner.align(np.zeros(31 * 16_000, np.float32), "too long")

    tar, cache = SpeechTar(speech_tar("dev-01")), TranscriptCache(tmp_path / "times.jsonl")
    [key] = tar.keys(1)
    found = ReferenceTimes(cache).words(tar, key)
    assert [word.text for word in found] == tar.reference(key)[0].split()
    assert all(one.end_s <= other.end_s for one, other in pairwise(found))
    kept = len((tmp_path / "times.jsonl").read_text())
    assert ReferenceTimes(TranscriptCache(tmp_path / "times.jsonl")).words(tar, key) == found
    assert len((tmp_path / "times.jsonl").read_text()) <= kept + 1


def test_a_real_stream_s_trace_ends_in_its_committed_text(clips: Callable[[str, int], list[Clip]]) -> None:
    [clip] = clips("words-00", 1)
    transcriber = BatchTranscriber.load("base", slots=1)
    [(_, _, found)] = transcribe_jobs(transcriber, [Job(StreamSettings(), lambda: clip)])
    assert len(found.words) > 2
    assert found.shown_at(clip.duration + 1) == found.words
    times = [look.time_s for look in found.looks]
    assert times == sorted(times)
    assert any(look.tail for look in found.looks)
    errors = count_errors(clip.text, found.text)
    interim = interim_errors(timed_tokens(clip.words), found)
    assert interim.words == errors.words
    assert interim.errors >= errors.errors
