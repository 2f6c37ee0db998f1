"""OpenAI's transcriptions of recordings: what a request asks for, and the answer in each of its formats."""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from voicewire.streaming.errors import ParameterError
from voicewire.streaming.messages import EndpointMessage, ServerMessage, TranscriptMessage, WordItem
from voicewire.streaming.protocols.language import code_of, tag_of
from voicewire.streaming.protocols.openai_answers import (
    TextDelta,
    TextDone,
    TimedSegment,
    TimedWord,
    Transcription,
    Usage,
    VerboseTranscription,
)
from voicewire.streaming.protocols.spoken import spoken
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript, TranscriptBuilder
from voicewire.streaming.subtitles.writers import SubtitleFormat, render

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]

_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What a client asks for.

    Attributes:
        format: of the answer.
        language: as Whisper has it.
        words, segments: what verbose JSON holds besides the text.
        stream: whether the text is told as it comes, as server-sent events.
    """

    format: ResponseFormat = "json"
    language: str = "en"
    words: bool = False
    segments: bool = True
    stream: bool = False

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]]) -> "TranscriptionRequest":
        """Reads a form's fields; those that mean nothing here (prompt, temperature, model) are ignored.

        Raises ParameterError.
        """
        held = list(fields)
        given = dict(held)
        form = given.get("response_format", "json")
        if form not in get_args(ResponseFormat):
            formats = ", ".join(get_args(ResponseFormat))
            raise ParameterError("response_format", f"{form[:40]!r} is not known here: use {formats}")
        wanted = {value for name, value in held if name.partition("[")[0] == "timestamp_granularities"}
        if not wanted <= {"word", "segment"}:
            raise ParameterError("timestamp_granularities", "these are word and segment")
        if wanted and form != "verbose_json":
            raise ParameterError("timestamp_granularities", "they need response_format=verbose_json")
        return cls(
            format=form,  # type: ignore[arg-type]
            language=code_of(tag_of(given.get("language") or "en")),
            words="word" in wanted,
            segments="segment" in wanted or not wanted,
            stream=_flag(given, "stream"),
        )


class OpenAIFile:
    """One recording's answer, gathered from what a native session says of it."""

    def __init__(self, request: TranscriptionRequest) -> None:
        self._request = request
        self._builder = TranscriptBuilder()
        self._told = ""

    def hear(self, message: ServerMessage) -> str:
        """Takes what the session says; gives the event that tells it to who asked for a stream, or nothing."""
        self._builder.add(message)
        if isinstance(message, TranscriptMessage) and message.text:
            # A client that appends deltas gets the text as it is, with no space before its first word.
            delta = message.text if self._told else message.text.lstrip()
            self._told += delta
            return _sent(TextDelta(delta=delta))
        if isinstance(message, EndpointMessage):
            self._builder.end_utterance()
        return ""

    def last_event(self) -> str:
        """The event that ends a stream."""
        return _sent(TextDone(text=self._told))

    def answer(self) -> tuple[str, str]:
        """The whole answer and its media type."""
        transcript = self._builder.finish(self._request.language)
        match self._request.format:
            case "json":
                answer = Transcription(text=transcript.text, usage=Usage.of(transcript))
                return answer.model_dump_json(), _JSON
            case "text":
                return transcript.text + "\n", _TEXT
            case "srt":
                return render(transcript, SubtitleFormat.SRT), _TEXT
            case "vtt":
                return render(transcript, SubtitleFormat.VTT), "text/vtt; charset=utf-8"
            case "verbose_json":
                return self._verbose(transcript).model_dump_json(exclude_none=True), _JSON

    def _verbose(self, transcript: TimedTranscript) -> VerboseTranscription:
        words = [
            TimedWord(word=word.text, start=round(word.start, 3), end=round(word.end, 3))
            for word in spoken(transcript.words)
        ]
        segments = [_segment(*numbered) for numbered in enumerate(transcript.segments)]
        return VerboseTranscription(
            language=transcript.language,
            duration=round(transcript.duration_s, 3),
            text=transcript.text,
            words=words if self._request.words else None,
            segments=segments if self._request.segments else None,
            usage=Usage.of(transcript),
        )


def failed_event(error: str) -> str:
    """The event that ends a stream in which something went wrong; `error` is the body of an HTTP error."""
    return f"event: error\ndata: {error}\n\n"


def _segment(number: int, segment: Segment) -> TimedSegment:
    text = segment.text.encode()
    return TimedSegment(
        id=number,
        start=round(segment.start_s, 3),
        end=round(segment.end_s, 3),
        text=segment.text,
        avg_logprob=_mean_logarithm(segment.words),
        compression_ratio=round(len(text) / len(zlib.compress(text)), 4),
    )


def _mean_logarithm(words: Iterable[WordItem]) -> float:
    logarithms = [math.log(max(word.probability, 1e-4)) for word in words]
    return round(sum(logarithms) / len(logarithms), 4)


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false").lower()
    if value not in ("true", "false"):
        raise ParameterError(name, f"{value[:40]!r} is neither true nor false")
    return value == "true"


def _sent(event: TextDelta | TextDone) -> str:
    return f"data: {event.model_dump_json()}\n\n"
