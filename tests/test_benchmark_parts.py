"""The benchmarks' arithmetic: errors, delays, matches, long streams, and going on after a stop."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy_outcome import Outcome, SetOutcome, Utterance
from benchmarks.accuracy_report import AccuracyReport
from benchmarks.emission import EmissionLog
from benchmarks.long_stream import PIECE_S, LongRun, LongStream, compare_ends, long_streams
from benchmarks.machine import this_machine
from benchmarks.marked_section import section_marks
from benchmarks.speech_tars import SAMPLE_RATE, Clip, ReferenceWord, SpeechTar
from benchmarks.transcript_cache import TranscriptCache, TranscriptKey, fingerprint
from benchmarks.word_errors import WordErrors, count_errors, difference_interval, rate_interval, total
from benchmarks.word_match import match_words
from voicewire.asr.events import Word
from voicewire.asr.settings import StreamSettings


def word(text: str, start_s: float = 0.0, end_s: float = 0.0) -> Word:
    return Word(text, start_s, end_s, 1.0, end_s)


def words(text: str) -> list[Word]:
    return [word(one) for one in text.split()]


def clip(key: str, seconds: float) -> Clip:
    return Clip(key, np.zeros(int(seconds * SAMPLE_RATE), np.float32), key, (), seconds, "s", "c")


def test_errors_are_counted_after_normalising_both_sides() -> None:
    assert count_errors("MR COLOUR HAS TWENTY ONE", "Mister color, has 21.") == WordErrors(4, 0, 0, 0)
    assert count_errors("a big dog", "a pig dog ran") == WordErrors(3, 1, 0, 1)
    assert count_errors("a dog ran", "") == WordErrors(3, 0, 3, 0)
    assert count_errors("", "thank you") == WordErrors(0, 0, 0, 2)
    assert count_errors("", "").rate is None


def test_intervals_hold_the_rate_and_pairing_narrows_the_difference() -> None:
    random = np.random.default_rng(1)
    base = [WordErrors(20, int(count), 0, 0) for count in random.poisson(4, 100)]
    worse = [one + WordErrors(0, 0, 0, 1) for one in base]
    interval, difference = rate_interval(worse), difference_interval(worse, base)
    rate = total(worse).rate
    assert interval is not None and difference is not None and rate is not None  # noqa: PT018
    assert interval.low < rate < interval.high
    assert difference.low == pytest.approx(0.05)
    assert difference.high == pytest.approx(0.05)
    assert rate_interval([WordErrors(0, 0, 0, 3)]) is None


def test_words_are_matched_to_the_reference_by_alignment() -> None:
    reference = [
        ReferenceWord(text, at, at + 1)
        for at, text in enumerate(("the", "dog's", "the", "best", "OF", "all"))
    ]
    heard = words("The dog's a the rest , of all.")
    assert [(one.start_s, at) for one, at in match_words(reference, heard)] == [
        (0, 0), (1, 1), (2, 3), (4, 6), (5, 7)
    ]  # fmt: skip


def test_a_word_counts_as_seen_from_when_it_stands_for_good() -> None:
    log = EmissionLog()
    log.see(0.3, [], words("the"))
    log.see(0.6, [], words("a cat"))
    log.see(0.9, [], words("the cat"))
    log.see(1.2, words("The cat,"), words("sat"))
    log.see(1.5, [], words("on"))
    log.see(1.8, words("sat"), [])
    found = [(emission.interim_s, emission.committed_s) for emission in log.emissions()]
    assert found == [(0.9, 1.2), (0.6, 1.2), (1.8, 1.8)]


def test_a_word_that_moves_in_the_tail_still_stands() -> None:
    log = EmissionLog()
    log.see(0.3, [], words("big house"))
    log.see(0.6, [], words("the big house"))
    log.see(0.9, words("the big house"), [])
    assert [emission.interim_s for emission in log.emissions()] == [0.6, 0.3, 0.3]


def test_a_choice_of_clips_is_stable_and_nested(speech_tar) -> None:
    tar = SpeechTar(speech_tar("dev-01"))
    assert tar.keys(5) == SpeechTar(speech_tar("dev-01")).keys(5)
    assert set(tar.keys(5)) < set(tar.keys(20)) < set(tar.keys())
    assert len(tar.keys(5)) == 5
    one = tar.read(tar.keys(1)[0])
    text, duration_s = tar.reference(one.key)
    assert (one.text, one.duration) == (text, pytest.approx(duration_s, abs=0.05))
    assert one.samples.dtype == np.float32
    assert 0.01 < np.abs(one.samples).max() <= 1.1


def test_transcripts_survive_a_run_that_was_killed(tmp_path: Path) -> None:
    path, key = tmp_path / "out" / "x.jsonl", TranscriptKey("r", "300:1200", "dev", "clip")
    cache = TranscriptCache(path)
    cache.add(key, "Grüße, all")
    cache.close()
    with path.open("a") as file:
        file.write('{"key": "r/300:1200/dev/ot')
    cache = TranscriptCache(path)
    assert cache.get(key) == "Grüße, all"
    assert cache.get(TranscriptKey("another", "300:1200", "dev", "clip")) is None
    cache.add(TranscriptKey("r", "s", "t", "u"), "after the torn line")
    cache.close()
    assert TranscriptCache(path).get(TranscriptKey("r", "s", "t", "u")) == "after the torn line"


def test_a_fingerprint_changes_with_its_parts_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = fingerprint("base", files=[tmp_path / "a.py"])
    assert first == fingerprint("base", files=[tmp_path / "a.py"])
    assert first != fingerprint("tiny", files=[tmp_path / "a.py"])
    (tmp_path / "a.py").write_text("2")
    assert first != fingerprint("base", files=[tmp_path / "a.py"])


def report() -> AccuracyReport:
    def outcome(settings: StreamSettings | None, *hypotheses: str) -> Outcome:
        return Outcome(
            settings,
            tuple(
                Utterance(str(at), 0.5, "a big dog", text, count_errors("a big dog", text))
                for at, text in enumerate(hypotheses)
            ),
        )

    one = SetOutcome("dev", outcome(None, "a big dog", "a big"), (outcome(StreamSettings(), "a big", "big"),))
    return AccuracyReport((one,), this_machine(), {"model": "base", "beam": 1})


def test_the_report_holds_what_was_counted() -> None:
    found = report().as_json()["sets"]["dev"]
    [streaming] = found["streaming"]
    assert found["offline"]["wer"] == pytest.approx(1 / 6)
    assert (streaming["chunk_ms"], streaming["commit_ms"], streaming["deletions"]) == (300, 1200, 3)
    assert streaming["difference"] == pytest.approx(2 / 6)
    assert streaming["wer_low"] <= streaming["wer"] <= streaming["wer_high"]


def test_the_markdown_table_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "accuracy.md"
    report().write_markdown(path)
    path.write_text(path.read_text().replace("# Figures", "# Figures\n\nBefore.") + "\nAfter.\n")
    report().write_markdown(path)
    begin, end = section_marks("accuracy")
    text = path.read_text()
    assert text.count(begin) == text.count(end) == text.count("| dev | offline | 16.7 |") == 1
    assert (
        text.index("Before.")
        < text.index(begin)
        < text.index("+33.3")
        < text.index(end)
        < text.index("After.")
    )


def test_a_long_stream_keeps_every_clip_when_its_ends_are_exchanged() -> None:
    [stream] = long_streams((clip(str(at), 20 + at) for at in range(16)), minutes=5)
    assert stream.seconds >= 300
    turned = stream.swapped()
    assert sorted(one.key for one in turned.clips) == sorted(one.key for one in stream.clips)
    assert [one.key for one in turned.clips[:2]] == [one.key for one in stream.clips[-2:]]
    assert turned.clips[-1] is stream.clips[stream.lead(60) - 1]
    with pytest.raises(ValueError, match="apart"):
        next(long_streams((clip(str(at), 20) for at in range(9)), 1.1)).swapped()


def test_the_ends_are_compared_on_the_same_clips() -> None:
    """Clips that differ in cost cancel out; a cost that grows with time does not."""
    [stream] = long_streams((clip(str(at), 20 + at) for at in range(12)), minutes=4)
    each = {one.key: 1.0 + at for at, one in enumerate(stream.clips)}

    def run(stream: LongStream, growth: float) -> LongRun:
        costs = np.concatenate(
            [
                np.full(len(piece), each[one.key])
                for one, piece in zip(stream.clips, stream.pieces, strict=True)
            ]
        )
        per_piece = costs[:: int(PIECE_S * SAMPLE_RATE)]
        return LongRun(cpu_s=list(per_piece * np.linspace(1, growth, len(per_piece))))

    assert compare_ends(run(stream, 1), run(stream.swapped(), 1), stream) == pytest.approx(1, abs=0.02)
    assert compare_ends(run(stream, 2), run(stream.swapped(), 2), stream) > 1.4
