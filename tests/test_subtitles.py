"""Subtitles: for any words nothing lost, no overlap, every limit kept; for ordinary ones good breaks."""

import html
import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pysubs2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from benchmarks.speech_tars import Clip
from voicewire.streaming.messages import (
    Done,
    EndpointMessage,
    RefinedMessage,
    Totals,
    TranscriptMessage,
    WordItem,
)
from voicewire.streaming.subtitles.cues import BLINK_S, CueRules, lay_out
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript, TranscriptBuilder, segment_of
from voicewire.streaming.subtitles.writers import SubtitleFormat, render, subtitles

RULES = CueRules()


def word(text: str, start: float, end: float) -> WordItem:
    return WordItem(word=text, start=start, end=end, probability=0.9, emitted=end)


def spoken(text: str, *, per_char_s: float = 0.07, pause_s: float = 0.05) -> list[WordItem]:
    """A text at an even pace; "|" in it is a second of silence."""
    words, now = [], 0.0
    for part in text.split():
        if part == "|":
            now += 1.0
            continue
        end = now + per_char_s * len(part)
        words.append(word(f" {part}", round(now, 3), round(end, 3)))
        now = end + pause_s
    return words


def transcript(*segments: list[WordItem]) -> TimedTranscript:
    return TimedTranscript("en", 60.0, tuple(segment_of(words) for words in segments))


# Words as recognisers give them: mostly with a leading space, some glued to the word before, odd characters too.
letters = st.text(st.sampled_from("abcdefgXYZ0123456789'-.,?!;:{}<>&\\\"…ßéя日本語"), min_size=1, max_size=14)
texts = st.one_of(
    letters.map(lambda text: " " + text), letters.map(lambda text: " " + text), letters, st.just(" ")
)
texts = st.one_of(texts, st.text(min_size=1, max_size=60).map(lambda text: " " + text))
steps = st.one_of(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 12))


@st.composite
def streams(draw: st.DrawFn) -> list[WordItem]:
    """Words whose starts are in order; their ends may lie anywhere after, also beyond the next start."""
    words, now = [], draw(st.floats(0, 5))
    for text in draw(st.lists(texts, max_size=60)):
        words.append(word(text, now, now + draw(steps)))
        now += draw(steps)
    return words


def squeezed(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(words=streams())
def test_no_word_is_lost_and_order_is_kept(words: list[WordItem]) -> None:
    shown = "".join(line for cue in lay_out(words) for line in cue.lines)
    assert squeezed(shown) == squeezed("".join(item.word for item in words))


@settings(max_examples=300, deadline=None)
@given(words=streams(), lines=st.sampled_from([1, 2]), width=st.sampled_from([20, 42]))
def test_every_cue_keeps_to_its_limits(words: list[WordItem], lines: int, width: int) -> None:
    rules = replace(RULES, lines=lines, line_width=width)
    cues = lay_out(words, rules)
    for number, cue in enumerate(cues):
        assert 1 <= len(cue.lines) <= lines
        assert all(line and line == line.strip() for line in cue.lines)
        if any(cell_len(line) > width for line in cue.lines):
            assert squeezed(cue.text) in unbreakable(words)
        length_s = cue.end_s - cue.start_s
        assert BLINK_S - 0.0015 <= length_s <= rules.longest_s + 0.0015
        followed_at_once = number + 1 < len(cues) and cues[number + 1].start_s <= cue.end_s + 0.0015
        assert length_s >= rules.shortest_s - 0.0015 or followed_at_once


def unbreakable(words: list[WordItem]) -> set[str]:
    """The pieces that no line break may part: what is left when every cue is as narrow as it can be."""
    narrow = CueRules(line_width=1, lines=1)
    return {squeezed(cue.text) for cue in lay_out(words, narrow)}


@settings(max_examples=300, deadline=None)
@given(words=streams())
def test_cues_are_in_order_and_never_overlap(words: list[WordItem]) -> None:
    cues = lay_out(words)
    for before, after in itertools.pairwise(cues):
        assert before.start_s < before.end_s <= after.start_s
    for cue in cues:
        assert cue.start_s >= 0


@settings(max_examples=300, deadline=None)
@given(words=streams(), form=st.sampled_from([SubtitleFormat.SRT, SubtitleFormat.VTT]))
@example(words=[word(" " + "a" * 40, 0, 1), word(" 1984", 1, 2)], form=SubtitleFormat.SRT)
@example(words=[word(" {an8} <i> --> & a\\N", 0, 1)], form=SubtitleFormat.VTT)
def test_a_player_reads_what_was_written(words: list[WordItem], form: SubtitleFormat) -> None:
    cues = lay_out(words)
    read = list(pysubs2.SSAFile.from_string(subtitles(cues, form), form.value, keep_unknown_html_tags=True))
    assert len(read) == len(cues)
    for cue, event in zip(cues, read, strict=True):
        assert (event.start, event.end) == (round(cue.start_s * 1000), round(cue.end_s * 1000))
        text = html.unescape(event.text) if form is SubtitleFormat.VTT else event.text
        assert readable(text.replace(r"\N", "\n")) == readable(cue.text)


def readable(text: str) -> str:
    """What is left of a text when the stand-ins for players' commands are undone."""
    return text.translate(str.maketrans("‹›＼{}", "<>\\()"))  # noqa: RUF001


def lines_of(text: str, **changes: float) -> list[tuple[str, ...]]:
    return [cue.lines for cue in lay_out(spoken(text), replace(RULES, **changes))]


def test_cues_end_with_sentences_and_lines_with_clauses() -> None:
    text = (
        "We have been here before, and we know the way. Nobody asked us to come back. "
        "The road is long, the night is cold, and still we walk on without a word. Enough."
    )
    cues = lines_of(text)
    assert cues[0] == ("We have been here before,", "and we know the way.")
    assert all(lines[-1].endswith((".", ",")) for lines in cues)
    assert " ".join(" ".join(lines) for lines in cues) == text


def test_lines_are_balanced() -> None:
    (cue,) = lay_out(spoken("this sentence is somewhat longer than one single line may be", per_char_s=0.05))
    above, below = cue.lines
    assert abs(len(above) - len(below)) <= 12


def test_a_pause_parts_cues_where_no_punctuation_does() -> None:
    text = "these words were said together | and these words were said a second later by the same voice"
    assert lines_of(text)[0] == ("these words were said together",)


def test_a_cue_stays_for_reading_but_not_into_the_next() -> None:
    quick = [
        word(" Extraordinarily", 0.0, 0.2),
        word(" complicated", 0.2, 0.4),
        word(" circumstances.", 0.4, 0.6),
    ]
    (alone,) = lay_out(quick)
    assert alone.end_s == pytest.approx(len(alone.text) / RULES.reading_speed, abs=0.01)
    first, second = lay_out([*quick, word(" Then", 2.0, 2.3), word(" nothing.", 2.3, 2.6)])
    assert first.end_s == second.start_s == 2.0
    (short,) = lay_out([word(" Yes.", 3.0, 3.1)])
    assert (short.start_s, short.end_s) == (3.0, 4.0)


def test_punctuation_that_came_later_stays_with_its_word() -> None:
    words = [word(" Well", 0, 0.4), word(",", 0.4, 0.4), word(" twenty", 0.5, 0.8), word("-four", 0.8, 1.0)]
    assert [cue.lines for cue in lay_out([*words, word(".", 1.0, 1.0)])] == [("Well, twenty-four.",)]


def test_a_script_without_spaces_is_folded_by_its_width() -> None:
    text = (
        "吾輩は猫である名前はまだ無いどこで生れたかとんと見当がつかぬ何でも薄暗いじめじめした所で泣いていた"
    )
    words = [word(char, 0.12 * number, 0.12 * number + 0.1) for number, char in enumerate(text)]
    cues = lay_out(words)
    assert len(cues) > 1
    assert all(cell_len(line) <= 42 for cue in cues for line in cue.lines)
    assert "".join(line for cue in cues for line in cue.lines) == text


def test_an_hour_is_laid_out_at_once() -> None:
    words = spoken(
        "the quick brown fox jumps over the lazy dog and then, tired, it goes home to sleep. " * 500
    )
    cues = lay_out(words)
    assert sum(len(cue.text.split()) for cue in cues) == len(words) == 8_500
    assert all(cue.text.endswith((".", ",")) for cue in cues)


def test_real_word_times_give_readable_cues(clips: Callable[[str, int], list[Clip]]) -> None:
    held = [clip for clip in clips("words-00", 400) if clip.words and len(clip.words) > 15]
    assert held
    for clip in held:
        words = [word(f" {item.text}", item.start_s, item.end_s) for item in clip.words]
        for cue in lay_out(words):
            assert cue.start_s >= words[0].start
            assert len(cue.text) / (cue.end_s - cue.start_s) < 30


def test_plain_text_is_one_line_per_segment() -> None:
    assert (
        render(transcript(spoken("One two."), spoken("Three.")), SubtitleFormat.TXT) == "One two.\nThree.\n"
    )
    assert render(TimedTranscript("en", 3.0, ()), SubtitleFormat.TXT) == ""
    for form in SubtitleFormat:
        render(TimedTranscript("en", 3.0, ()), form)


def test_json_has_the_shape_of_verbose_json() -> None:
    content = json.loads(render(transcript(spoken("One two."), spoken("Three.")), SubtitleFormat.JSON))
    assert content["task"] == "transcribe"
    assert content["language"] == "en"
    assert content["duration"] == 60.0
    assert content["text"] == "One two. Three."
    assert [segment["id"] for segment in content["segments"]] == [0, 1]
    assert content["segments"][0]["text"] == "One two."
    assert content["segments"][0]["start"] == content["words"][0]["start"] == 0.0
    assert [item["word"] for item in content["words"]] == [" One", " two.", " Three."]
    assert set(content["words"][0]) == {"word", "start", "end", "probability"}


def test_events_of_a_stream_become_segments() -> None:
    def news(words: list[WordItem], tail: list[WordItem], utterance: int) -> TranscriptMessage:
        return TranscriptMessage(
            seq=0,
            words=words,
            tail=tail,
            text="",
            tail_text="",
            utterance=utterance,
            audio_received=0,
            audio_processed=0,
            buffered_ms=0,
        )

    one, two, three = spoken("One two. Three.")
    builder = TranscriptBuilder()
    builder.add(news([one], [two], 0))
    assert (builder.words, builder.tail) == ([one], [two])
    builder.add(news([two], [], 0))
    builder.add(EndpointMessage(seq=1, utterance=0, start=0, end=1, text="One two."))
    assert builder.words == []
    builder.add(news([], [three], 1))
    builder.add(news([three], [], 1))
    builder.add(Done(totals=Totals(audio_s=5.0, words=3, utterances=2)))
    whole = builder.finish("en")
    assert whole.duration_s == 5.0
    assert whole.segments == (
        Segment(one.start, two.end, (one, two)),
        Segment(three.start, three.end, (three,)),
    )
    assert whole.text == "One two. Three."
    won = word(" Won", one.start, one.end)
    builder.add(RefinedMessage(seq=9, utterance=0, start=one.start, end=one.end, text="Won", words=[won]))
    assert builder.finish("en").text == "Won two. Three."
