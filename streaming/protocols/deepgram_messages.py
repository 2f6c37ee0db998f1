"""What Deepgram's clients read, as typed models: the messages of a live stream, and the answer about a file."""

from collections.abc import Sequence
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict

from voicewire.streaming.protocols.spoken import SpokenWord, confidence

ARCHITECTURE = "whisper"
VERSION = "voicewire-1"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)

    def json_text(self) -> str:
        """As it goes over the wire: what is not known is left out."""
        return self.model_dump_json(exclude_none=True)


class Word(_Message):
    """One word; seconds from the beginning of the audio."""

    word: str
    start: float
    end: float
    confidence: float
    punctuated_word: str | None = None

    @classmethod
    def of(cls, spoken: SpokenWord, *, formatted: bool) -> "Word":
        return cls(
            word=spoken.plain,
            start=round(spoken.start, 3),
            end=round(spoken.end, 3),
            confidence=spoken.confidence,
            punctuated_word=spoken.text if formatted else None,
        )


class Alternative(_Message):
    transcript: str
    confidence: float
    languages: list[str]
    words: list[Word]

    @classmethod
    def of(cls, words: Sequence[SpokenWord], language: str, *, formatted: bool) -> "Alternative":
        return cls(
            transcript=" ".join(word.text if formatted else word.plain for word in words),
            confidence=confidence(list(words)),
            languages=[language],
            words=[Word.of(word, formatted=formatted) for word in words],
        )


class LiveChannel(_Message):
    alternatives: list[Alternative]


class ModelInfo(_Message):
    """Which model listened."""

    name: str
    version: str = VERSION
    arch: str = ARCHITECTURE


class ResultsMetadata(_Message):
    request_id: str
    model_info: ModelInfo
    model_uuid: str


class Results(_Message):
    """News of the text of `start` to `start + duration`; final ranges follow each other without a gap."""

    type: Literal["Results"] = "Results"
    channel_index: list[int]
    duration: float
    start: float
    is_final: bool
    speech_final: bool
    from_finalize: bool
    channel: LiveChannel
    metadata: ResultsMetadata


class SpeechStarted(_Message):
    type: Literal["SpeechStarted"] = "SpeechStarted"
    channel: list[int]
    timestamp: float


class UtteranceEnd(_Message):
    type: Literal["UtteranceEnd"] = "UtteranceEnd"
    channel: list[int]
    last_word_end: float


class Metadata(_Message):
    """The last message of a stream."""

    type: Literal["Metadata"] = "Metadata"
    transaction_key: str = "deprecated"
    request_id: str
    sha256: str
    created: str
    duration: float
    channels: int


class Error(_Message):
    """Something that the server could not take; `message` is what the client sent."""

    type: Literal["Error"] = "Error"
    variant: str
    description: str
    message: str | None = None


class ConfigureSuccess(_Message):
    type: Literal["ConfigureSuccess"] = "ConfigureSuccess"
    request_id: str


class ConfigureFailure(_Message):
    type: Literal["ConfigureFailure"] = "ConfigureFailure"
    request_id: str
    code: str
    description: str


class FileUtterance(_Message):
    start: float
    end: float
    confidence: float
    channel: int = 0
    transcript: str
    words: list[Word]
    id: str


class FileChannel(_Message):
    alternatives: list[Alternative]


class FileResults(_Message):
    channels: list[FileChannel]
    utterances: list[FileUtterance] | None = None


class FileMetadata(_Message):
    transaction_key: str = "deprecated"
    request_id: str
    sha256: str
    created: str
    duration: float
    channels: int
    models: list[str]
    model_info: dict[str, ModelInfo]


class FileAnswer(_Message):
    """The answer to `POST /v1/listen`."""

    metadata: FileMetadata
    results: FileResults


class Refusal(_Message):
    """The body of an HTTP error."""

    err_code: str
    err_msg: str
    request_id: str


def model_uuid(model: str) -> str:
    """The same for the same model, everywhere."""
    return str(uuid5(NAMESPACE_URL, f"voicewire:model:{model}"))
