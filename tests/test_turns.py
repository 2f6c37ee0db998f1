"""Channels of several speakers as one transcript, and what the writers make of it."""

import itertools
import json
import re

import pysubs2
from hypothesis import given
from hypothesis import strategies as st

from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.transcripts import TimedTranscript, segment_of
from voicewire.streaming.subtitles.turns import merge
from voicewire.streaming.subtitles.writers import SubtitleFormat, render

NAMES = ("Agent", "Caller")


def said(text: str, at_s: float, pace_s: float = 0.3) -> list[WordItem]:
    """Words at an even pace; "|" is a second of silence."""
    words, now = [], at_s
    for part in text.split():
        if part != "|":
            words.append(
                WordItem(word=f" {part}", start=now, end=now + 0.8 * pace_s, probability=0.9, emitted=now)
            )
        now += 1.0 if part == "|" else pace_s
    return words


def channel(*segments: list[WordItem], language: str = "en") -> TimedTranscript:
    return TimedTranscript(language, 30.0, tuple(segment_of(words) for words in segments))


CALL = merge(
    [
        channel(said("Good morning. | Of course.", 0.0), said("Goodbye now.", 6.0)),
        channel(said("Hello?", 1.0), said("Thanks, goodbye now.", 4.5)),
    ],
    NAMES,
)


def test_a_segment_is_parted_where_the_other_answers() -> None:
    assert [(one.speaker, one.text) for one in CALL.segments] == [
        ("Agent", "Good morning."),
        ("Caller", "Hello?"),
        ("Agent", "Of course."),
        ("Caller", "Thanks, goodbye now."),
        ("Agent", "Goodbye now."),
    ]
    alone = merge([channel(said("Good morning. | Of course.", 0.0)), channel()], NAMES)
    assert [one.text for one in alone.segments] == ["Good morning. Of course."]


def test_the_language_is_that_of_whoever_says_most() -> None:
    quiet = channel(said("Oui.", 3.0), language="fr")
    assert merge([quiet, channel(said("One two three.", 0.0))], NAMES).language == "en"
    assert merge([channel(), channel()], NAMES).segments == ()


times = st.lists(st.floats(0, 20).map(lambda time: round(time, 2)), max_size=12).map(sorted)


@given(channels=st.lists(times, min_size=1, max_size=3))
def test_merging_loses_no_word_and_keeps_each_speaker_s_order(channels: list[list[float]]) -> None:
    transcripts = []
    for number, starts in enumerate(channels):
        words = [said(f"{number}.{at}", start)[0] for at, start in enumerate(starts)]
        groups = [words[first : first + 5] for first in range(0, len(words), 5)]
        transcripts.append(channel(*groups))
    merged = merge(transcripts, [str(number) for number in range(len(channels))])
    for number, transcript in enumerate(transcripts):
        own = [
            word for segment in merged.segments if segment.speaker == str(number) for word in segment.words
        ]
        assert own == list(transcript.words)
    assert all(a.start_s <= b.start_s for a, b in itertools.pairwise(merged.segments))


def test_every_format_names_the_speakers() -> None:
    assert render(CALL, SubtitleFormat.TXT).splitlines()[:2] == ["Agent: Good morning.", "Caller: Hello?"]
    srt = pysubs2.SSAFile.from_string(render(CALL, SubtitleFormat.SRT), "srt")
    assert [event.text for event in srt] == [
        "Agent: Good morning.",
        "Caller: Hello?",
        "Agent: Of course.",
        "Caller: Thanks, goodbye now.",
        "Agent: Goodbye now.",
    ]
    vtt = render(CALL, SubtitleFormat.VTT)
    assert "\n<v Agent>Good morning.</v>\n" in vtt
    assert "\n<v Caller>Hello?</v>\n" in vtt
    content = json.loads(render(CALL, SubtitleFormat.JSON))
    assert [segment["speaker"] for segment in content["segments"]][:2] == ["Agent", "Caller"]
    assert {word["speaker"] for word in content["words"]} == set(NAMES)


def test_cues_of_two_speakers_overlap_only_where_they_speak_at_once() -> None:
    events = list(pysubs2.SSAFile.from_string(render(CALL, SubtitleFormat.VTT), "vtt"))
    assert events[0].end == events[1].start == 1000, "a cue that stays to be read makes room"
    assert events[3].start < 5400 < events[3].end, "a word that is still being said keeps its cue"


def test_a_name_cannot_break_a_file() -> None:
    odd = merge([channel(said("Hello.", 0.0))], ["<b>&{an8}"])
    assert "<v &lt;b&gt;&amp;(an8)>Hello.</v>" in render(odd, SubtitleFormat.VTT)
    assert "‹b›&(an8): Hello." in render(odd, SubtitleFormat.SRT)  # noqa: RUF001


def test_words_light_up_as_they_are_spoken() -> None:
    words = said("Tom & Ann said <so>.", 1.0)
    lit = render(channel(words), SubtitleFormat.KARAOKE)
    assert (
        "<c>Tom</c> <00:00:01.300><c>&amp;</c> <00:00:01.600><c>Ann</c> <00:00:01.900><c>said</c>"
        " <00:00:02.200><c>&lt;so&gt;.</c>"
    ) in lit
    plain = re.sub(r"</?c>|<[\d:.]+>", "", lit)
    assert plain == render(channel(words), SubtitleFormat.VTT)
    assert "<v Agent><c>Good</c> <00:00:00.300><c>morning.</c></v>" in render(CALL, SubtitleFormat.KARAOKE)


@given(starts=times)
def test_times_inside_a_cue_rise(starts: list[float]) -> None:
    words = [said(f"w{at}", start, 0.5)[0] for at, start in enumerate(starts)]
    text = render(channel(words) if words else channel(), SubtitleFormat.KARAOKE)
    cues = re.findall(r"^(\S+) --> (\S+)\n(.+(?:\n.+)*)", text, re.MULTILINE)
    assert sum(cue.count("<c>") for _, _, cue in cues) == len(words)
    for start, end, cue in cues:
        stamps = [start, *re.findall(r"<(\d\d:\d\d:\d\d\.\d{3})>", cue), end]
        assert all(_ms(a) < _ms(b) for a, b in itertools.pairwise(stamps))


def _ms(stamp: str) -> int:
    hours, minutes, seconds = stamp.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)
