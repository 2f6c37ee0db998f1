"""What OpenAI's clients read of a recording and of the models, as typed models."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from voicewire.streaming.subtitles.transcripts import TimedTranscript


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usage(_Answer):
    """The length of what was transcribed, in whole seconds."""

    type: Literal["duration"] = "duration"
    seconds: int

    @classmethod
    def of(cls, transcript: TimedTranscript) -> "Usage":
        return cls(seconds=math.ceil(transcript.duration_s))


class Transcription(_Answer):
    """`response_format=json`."""

    text: str
    usage: Usage


class TimedWord(_Answer):
    """Seconds from the beginning of the recording."""

    word: str
    start: float
    end: float


class TimedSegment(_Answer):
    """An utterance in the shape of Whisper's segments; what a stream does not know of is at rest."""

    id: int
    seek: int = 0
    start: float
    end: float
    text: str
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float = 0.0


class VerboseTranscription(_Answer):
    """`response_format=verbose_json`; `words` and `segments` are there where they were asked for."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    words: list[TimedWord] | None = None
    segments: list[TimedSegment] | None = None
    usage: Usage


class TextDelta(_Answer):
    """With `stream=true`: text to be appended."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TextDone(_Answer):
    """With `stream=true`: the whole text, at the end."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str


class Model(_Answer):
    """A model; `created` is in seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "voicewire"


class ModelList(_Answer):
    """All models: there is one."""

    object: Literal["list"] = "list"
    data: list[Model]
