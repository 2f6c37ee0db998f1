"""Transcripts as files: plain text, SRT and VTT subtitles, and JSON in the shape of Whisper's `verbose_json`."""

import html
import json
from collections.abc import Sequence
from enum import StrEnum

import pysubs2

from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.cues import DEFAULT_RULES, Cue, CueRules, lay_out
from voicewire.streaming.subtitles.transcripts import TimedTranscript

# Braces and backslashes are commands to subtitle players (and to pysubs2), which would hide the words in them.
_HARMLESS = str.maketrans({"{": "(", "}": ")", "\\": "＼"})  # noqa: RUF001
# SRT has no way to write these as text: players take what stands between them for a tag.
_NO_TAGS = str.maketrans({"<": "‹", ">": "›"})  # noqa: RUF001


class SubtitleFormat(StrEnum):
    """What `voicewire transcribe -f` takes; also the files' suffixes."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def render(transcript: TimedTranscript, form: SubtitleFormat, rules: CueRules = DEFAULT_RULES) -> str:
    """The content of a file in that format::

    Path("talk.srt").write_text(render(transcript, SubtitleFormat.SRT), encoding="utf-8")
    """
    if form is SubtitleFormat.TXT:
        return plain_text(transcript)
    if form is SubtitleFormat.JSON:
        return verbose_json(transcript)
    return subtitles(lay_out(transcript.words, rules), form)


def plain_text(transcript: TimedTranscript) -> str:
    """One line per segment."""
    return "".join(f"{segment.text}\n" for segment in transcript.segments if segment.text)


def subtitles(cues: Sequence[Cue], form: SubtitleFormat) -> str:
    """Cues as SRT or VTT."""
    file = pysubs2.SSAFile()
    for cue in cues:
        text = cue.text.translate(_HARMLESS)
        text = html.escape(text, quote=False) if form is SubtitleFormat.VTT else text.translate(_NO_TAGS)
        event = pysubs2.SSAEvent(start=round(cue.start_s * 1000), end=round(cue.end_s * 1000))
        event.text = text.replace("\n", r"\N")
        file.append(event)
    written: str = file.to_string(form.value)
    return written


def verbose_json(transcript: TimedTranscript) -> str:
    """The fields of Whisper's `verbose_json` that a transcript knows; times in seconds."""
    content = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": [
            {
                "id": number,
                "start": round(segment.start_s, 3),
                "end": round(segment.end_s, 3),
                "text": segment.text,
                "words": [_word(word) for word in segment.words],
            }
            for number, segment in enumerate(transcript.segments)
        ],
        "words": [_word(word) for word in transcript.words],
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _word(word: WordItem) -> dict[str, str | float]:
    return {
        "word": word.word,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "probability": round(word.probability, 4),
    }
