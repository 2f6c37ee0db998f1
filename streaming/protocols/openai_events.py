"""The events of OpenAI's realtime transcription, as typed models: what a client may send, and what it reads."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from voicewire.streaming.errors import ParameterError, SessionError
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.protocols.language import LanguageTag

_SERVER_FAULTS = frozenset(
    (ErrorCode.INTERNAL, ErrorCode.OVERLOADED, ErrorCode.SHED, ErrorCode.CAPACITY, ErrorCode.SHUTTING_DOWN)
)


class _Given(BaseModel):
    """What a client sends: fields that are not known are left alone, since OpenAI adds some every few months."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ClientEvent(_Given):
    """Any event of a client's; `session` is read when its kind is known."""

    type: Annotated[str, Field(max_length=100)]
    event_id: Annotated[str, Field(max_length=512)] | None = None
    audio: str | None = None
    session: dict[str, Any] | None = None


class AudioFormat(_Given):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: Annotated[int, Field(ge=8_000, le=48_000)] = 24_000


class Transcription(_Given):
    model: Annotated[str, Field(max_length=200)] | None = None
    language: LanguageTag | None = None


class TurnDetection(_Given):
    """When a turn of the speaker's is over. `threshold` and `prefix_padding_ms` mean nothing here."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    silence_duration_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 500
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"


class AudioInput(_Given):
    """Left out means unchanged; a `turn_detection` of null means none."""

    format: AudioFormat | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None


class _Audio(_Given):
    input: AudioInput = AudioInput()


class SessionUpdate(_Given):
    """The `session` of `session.update`."""

    type: Literal["transcription"] = "transcription"
    audio: _Audio = _Audio()


class OlderSessionUpdate(_Given):
    """The `session` of `transcription_session.update`, the same in the shape of 2025."""

    input_audio_format: Literal["pcm16", "g711_ulaw", "g711_alaw"] | None = None
    input_audio_transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None


# ---- what a client reads


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    event_id: str


class SessionEvent(_Event):
    """`session` is what holds now."""

    type: Literal[
        "session.created",
        "session.updated",
        "transcription_session.updated",
    ]
    session: dict[str, Any]


class SpeechStarted(_Event):
    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    item_id: str
    audio_start_ms: int


class SpeechStopped(_Event):
    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    item_id: str
    audio_end_ms: int


class Committed(_Event):
    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    item_id: str
    previous_item_id: str | None


class Cleared(_Event):
    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class AudioContent(BaseModel):
    type: Literal["input_audio"] = "input_audio"
    transcript: str | None = None


class Item(BaseModel):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["completed"] = "completed"
    role: Literal["user"] = "user"
    content: list[AudioContent]


class ItemAdded(_Event):
    type: Literal["conversation.item.added"] = "conversation.item.added"
    item: Item
    previous_item_id: str | None


class Delta(_Event):
    """Text to be appended to what an item has."""

    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )
    item_id: str
    content_index: int = 0
    delta: str


class Duration(BaseModel):
    """What was transcribed, by its length."""

    type: Literal["duration"] = "duration"
    seconds: float


class Completed(_Event):
    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    item_id: str
    content_index: int = 0
    transcript: str
    usage: Duration


class ErrorDetail(BaseModel):
    type: Literal["invalid_request_error", "server_error"]
    code: str | None
    message: str
    param: str | None = None
    event_id: str | None = None

    @classmethod
    def of(cls, code: ErrorCode, message: str) -> "ErrorDetail":
        """What ends a session, in OpenAI's words."""
        kind: Literal["invalid_request_error", "server_error"] = (
            "server_error" if code in _SERVER_FAULTS else "invalid_request_error"
        )
        return cls(type=kind, code=code.value, message=message)


class ErrorBody(BaseModel):
    """The body of an HTTP error."""

    error: ErrorDetail

    @classmethod
    def of(cls, error: ParameterError | SessionError) -> "ErrorBody":
        if isinstance(error, ParameterError):
            return cls(
                error=ErrorDetail(
                    type="invalid_request_error", code="invalid_value", message=str(error), param=error.name
                )
            )
        return cls(error=ErrorDetail.of(error.code, str(error)))


class ErrorEvent(_Event):
    """Something went wrong; the session goes on unless it is closed after this."""

    type: Literal["error"] = "error"
    error: ErrorDetail


ServerEvent = (
    SessionEvent
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | ItemAdded
    | Delta
    | Completed
    | ErrorEvent
)
