"""Transcripts as files: plain text, SRT and VTT subtitles, VTT whose words light up as they are spoken, and JSON
in the shape of Whisper's `verbose_json`.
"""

import html
import json
from collections.abc import Sequence
from enum import StrEnum

import pysubs2

from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.cues import DEFAULT_RULES, Cue, CueRules
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript
from voicewire.streaming.subtitles.turns import lay_out_turns

# Braces and backslashes are commands to subtitle players (and to pysubs2), which would hide the words in them.
_HARMLESS = str.maketrans({"{": "(", "}": ")", "\\": "＼"})  # noqa: RUF001
# SRT has no way to write these as text: players take what stands between them for a tag.
_NO_TAGS = str.maketrans({"<": "‹", ">": "›"})  # noqa: RUF001


class SubtitleFormat(StrEnum):
    """What `voicewire transcribe -f` takes, by name; the values are the files' suffixes."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    KARAOKE = "karaoke.vtt"


def render(transcript: TimedTranscript, form: SubtitleFormat, rules: CueRules = DEFAULT_RULES) -> str:
    """The content of a file in that format::

    Path("talk.srt").write_text(render(transcript, SubtitleFormat.SRT), encoding="utf-8")
    """
    if form is SubtitleFormat.TXT:
        return plain_text(transcript)
    if form is SubtitleFormat.JSON:
        return verbose_json(transcript)
    return subtitles(lay_out_turns(transcript, rules, labelled=form is SubtitleFormat.SRT), form)


def plain_text(transcript: TimedTranscript) -> str:
    """One line per segment, with its speaker where that is known."""
    return "".join(
        f"{segment.speaker}: {segment.text}\n" if segment.speaker else f"{segment.text}\n"
        for segment in transcript.segments
        if segment.text
    )


def subtitles(cues: Sequence[Cue], form: SubtitleFormat) -> str:
    """Cues as SRT or VTT; in VTT each is its speaker's, ``<v Agent>Hello.</v>``."""
    file = pysubs2.SSAFile()
    for cue in cues:
        event = pysubs2.SSAEvent(start=round(cue.start_s * 1000), end=round(cue.end_s * 1000))
        event.text = _cue_text(cue, form).replace("\n", r"\N")
        file.append(event)
    written: str = file.to_string("srt" if form is SubtitleFormat.SRT else "vtt")
    return written


def _cue_text(cue: Cue, form: SubtitleFormat) -> str:
    if form is SubtitleFormat.SRT:
        return cue.text.translate(_HARMLESS).translate(_NO_TAGS)
    text = _lit_words(cue) if form is SubtitleFormat.KARAOKE else _for_vtt(cue.text)
    return f"<v {_for_vtt(cue.speaker)}>{text}</v>" if cue.speaker else text


def _for_vtt(text: str) -> str:
    return html.escape(text.translate(_HARMLESS), quote=False)


def _lit_words(cue: Cue) -> str:
    """Each word between ``<c>`` and ``</c>``, behind the time from which it is lit.

    WebVTT wants such times to rise, within the cue: a word without one is lit with the word before it.
    """
    last_ms, end_ms = round(cue.start_s * 1000), round(cue.end_s * 1000)
    lines = []
    for words in cue.words:
        line = ""
        for word in words:
            at_ms = round(word.start_s * 1000)
            time = ""
            if last_ms < at_ms < end_ms:
                last_ms, time = at_ms, f"<{_clock(at_ms)}>"
            line += f"{' ' * word.spaced}{time}<c>{_for_vtt(word.text)}</c>"
        lines.append(line)
    return "\n".join(lines)


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def verbose_json(transcript: TimedTranscript) -> str:
    """The fields of Whisper's `verbose_json` that a transcript knows; times in seconds."""
    content = {
        "task": transcript.task,
        "language": transcript.language,
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": [
            {
                "id": number,
                "start": round(segment.start_s, 3),
                "end": round(segment.end_s, 3),
                "text": segment.text,
                **_speaker(segment),
                "words": [_word(word) for word in segment.words],
            }
            for number, segment in enumerate(transcript.segments)
        ],
        "words": [
            _word(word) | _speaker(segment) for segment in transcript.segments for word in segment.words
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _word(word: WordItem) -> dict[str, str | float]:
    return {
        "word": word.word,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "probability": round(word.probability, 4),
    }


def _speaker(segment: Segment) -> dict[str, str | float]:
    return {"speaker": segment.speaker} if segment.speaker else {}
