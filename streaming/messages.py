"""The native protocol's messages, version 1, as typed models.

This module alone of this room may be imported by the client, so it needs pydantic and nothing heavier.
docs/protocol.md is its prose, docs/protocol.schema.json its schema: `python -m voicewire.streaming.messages`
prints it.
"""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PROTOCOL_VERSION = 1

Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw", "opus", "ogg_opus", "flac", "tokens"]
Output = Literal["words", "tokens"]
Outputs = Annotated[list[Output], Field(min_length=1, max_length=2)]
CodecName = Annotated[str, Field(min_length=1, max_length=40)]
Kbps = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
SampleRate = Annotated[int, Field(ge=8_000, le=48_000)]
ChunkMs = Annotated[int, Field(ge=100, le=300, multiple_of=20)]
CommitMs = Annotated[int, Field(ge=100, le=1200, multiple_of=20)]
EndpointMs = Annotated[int, Field(ge=200, le=10_000)]
LanguageCode = Annotated[str, Field(min_length=2, max_length=20)]
# Whole numbers that every language's JSON library holds exactly.
MessageCount = Annotated[int, Field(ge=0, le=2**53 - 1)]
Keyterm = Annotated[str, Field(min_length=1, max_length=60)]
Keyterms = Annotated[list[Keyterm], Field(max_length=100)]
FlushId = Annotated[str, Field(max_length=200)] | Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]


class ErrorCode(StrEnum):
    """Every code of an `error` or a `warning`. docs/protocol.md says of each what causes it and what to do."""

    BAD_JSON = "bad_json"
    BAD_MESSAGE = "bad_message"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNSUPPORTED_SETTING = "unsupported_setting"
    START_EXPECTED = "start_expected"
    ALREADY_STARTED = "already_started"
    ALREADY_CLOSED = "already_closed"
    BAD_AUDIO = "bad_audio"
    BAD_TOKENS = "bad_tokens"
    CODEC_UNAVAILABLE = "codec_unavailable"
    MESSAGE_TOO_BIG = "message_too_big"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    SESSION_TOO_LONG = "session_too_long"
    BUFFER_FULL = "buffer_full"
    SLOW_READER = "slow_reader"
    CAPACITY = "capacity"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    RESUME_FAILED = "resume_failed"
    UNAUTHORIZED = "unauthorized"
    ORIGIN_REFUSED = "origin_refused"
    KEY_LIMIT = "key_limit"
    SHED = "shed"
    DECODER_RESET = "decoder_reset"
    NOT_REFINED = "not_refined"
    INTERIM_RARER = "interim_rarer"
    INTERIM_OFF = "interim_off"
    BEAM_OFF = "beam_off"
    LOAD_OVER = "load_over"
    INTERNAL = "internal"


# These end nothing: they come in a `warning`.
WARNINGS = frozenset(
    {
        ErrorCode.ALREADY_CLOSED,
        ErrorCode.DECODER_RESET,
        ErrorCode.NOT_REFINED,
        ErrorCode.INTERIM_RARER,
        ErrorCode.INTERIM_OFF,
        ErrorCode.BEAM_OFF,
        ErrorCode.LOAD_OVER,
    }
)

# The websocket close code that goes with each code of an `error`.
CLOSE_CODES: dict[ErrorCode, int] = {
    ErrorCode.BAD_JSON: 1007,
    ErrorCode.BAD_MESSAGE: 1008,
    ErrorCode.UNSUPPORTED_VERSION: 1008,
    ErrorCode.UNSUPPORTED_SETTING: 1008,
    ErrorCode.START_EXPECTED: 1008,
    ErrorCode.ALREADY_STARTED: 1008,
    ErrorCode.BAD_AUDIO: 1007,
    ErrorCode.BAD_TOKENS: 1007,
    ErrorCode.CODEC_UNAVAILABLE: 1008,
    ErrorCode.MESSAGE_TOO_BIG: 1009,
    ErrorCode.HANDSHAKE_TIMEOUT: 1008,
    ErrorCode.IDLE_TIMEOUT: 1008,
    ErrorCode.SESSION_TOO_LONG: 1008,
    ErrorCode.BUFFER_FULL: 1009,
    ErrorCode.SLOW_READER: 1008,
    ErrorCode.CAPACITY: 1013,
    ErrorCode.OVERLOADED: 1013,
    ErrorCode.SHED: 1013,
    ErrorCode.SHUTTING_DOWN: 1012,
    ErrorCode.RESUME_FAILED: 1008,
    ErrorCode.UNAUTHORIZED: 1008,
    ErrorCode.ORIGIN_REFUSED: 1008,
    ErrorCode.KEY_LIMIT: 1013,
    ErrorCode.INTERNAL: 1011,
}
NORMAL_CLOSE = 1000


def _require_type(schema: dict[str, Any]) -> None:
    """`type` has a default for whoever writes the message in Python; on the wire it must be there."""
    schema["required"] = ["type", *schema.get("required", [])]


class _Message(BaseModel):
    """Unknown fields are refused from a client (a typing mistake should not pass in silence)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, json_schema_extra=_require_type)


# ---- client to server


class Start(_Message):
    """The first message of a session."""

    type: Literal["start"] = "start"
    version: int = PROTOCOL_VERSION
    encoding: Encoding
    sample_rate: SampleRate
    channels: Annotated[int, Field(ge=1, le=2)] = 1
    language: LanguageCode = "en"
    chunk_ms: ChunkMs | None = None
    commit_ms: CommitMs | None = None
    interim: bool = True
    words: bool = True
    endpoint_ms: EndpointMs = 700
    outputs: Outputs = ["words"]
    codec: CodecName = "lyra_v2"
    bitrate_kbps: Kbps | None = None
    keyterms: Keyterms = []
    refine: bool = False
    resume: bool = False


class Resume(_Message):
    """Instead of `start`: goes on with a session whose connection was lost.

    `received` counts the server's messages that came after `ready`, on all connections of the session together;
    `ack` and `resumed` are not counted.
    """

    type: Literal["resume"] = "resume"
    token: Annotated[str, Field(min_length=1, max_length=100)]
    received: MessageCount


class Configure(_Message):
    """Changes settings while the session runs; they hold from the next block on."""

    type: Literal["configure"] = "configure"
    chunk_ms: ChunkMs | None = None
    commit_ms: CommitMs | None = None
    endpoint_ms: EndpointMs | None = None
    bitrate_kbps: Kbps | None = None
    refine: bool | None = None


class Flush(_Message):
    """Asks for every word and token of the audio sent so far; answered by `flushed` with the same id."""

    type: Literal["flush"] = "flush"
    id: FlushId | None = None


class KeepAlive(_Message):
    """Holds an idle session open."""

    type: Literal["keepalive"] = "keepalive"


class Close(_Message):
    """No more audio: the server sends what is left, `done`, and closes."""

    type: Literal["close"] = "close"


class Ack(_Message):
    """How many of the server's messages have come, counted as in `resume`: it need not keep them any more."""

    type: Literal["ack"] = "ack"
    received: MessageCount


ClientMessage = Annotated[
    Start | Resume | Configure | Flush | KeepAlive | Close | Ack, Field(discriminator="type")
]


# ---- server to client


class _ServerMessage(BaseModel):
    """A client ignores fields that it does not know: later versions of the protocol may add some."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class WordItem(_ServerMessage):
    """One word; `word` carries its leading space, so joining the items gives the text."""

    word: str
    start: float
    end: float
    probability: float
    emitted: float


class Settings(_ServerMessage):
    """What is in force for the session."""

    encoding: Encoding
    sample_rate: int
    channels: int
    language: str
    chunk_ms: int
    commit_ms: int
    endpoint_ms: int
    interim: bool
    words: bool
    # Servers before codecs sent none of these.
    outputs: list[Output] = ["words"]
    codec: str | None = None
    bitrate_kbps: float | None = None
    # Servers before the second pass sent neither.
    keyterms: list[str] = []
    refine: bool = False


class Limits(_ServerMessage):
    """What the server bounds; exceeding one ends the session with the code that docs/protocol.md names."""

    message_bytes: int
    idle_s: float
    session_s: float
    buffered_s: float


class Ticket(_ServerMessage):
    """What a client needs to go on after its connection was lost, and for how many seconds it is good.

    `server`, where there is one, goes into the address: `/v1/stream?resume=SERVER`.
    """

    token: str
    window_s: float
    server: str | None = None


class Ready(_ServerMessage):
    """The answer to `start`: audio may come."""

    type: Literal["ready"] = "ready"
    version: int = PROTOCOL_VERSION
    session_id: str
    model: str
    settings: Settings
    limits: Limits
    resume: Ticket | None = None


class Resumed(_ServerMessage):
    """The answer to `resume`: what the client has not received follows.

    `received` counts the client's messages that came after `start`, on all connections of the session together;
    `ack` and `resume` are not counted. The client sends again from there.
    """

    type: Literal["resumed"] = "resumed"
    received: int
    audio_received: float


class AckMessage(_ServerMessage):
    """How many of the client's messages have come, counted as in `resumed`: it need not keep them any more."""

    type: Literal["ack"] = "ack"
    received: int


class Configured(_ServerMessage):
    """The answer to `configure`."""

    type: Literal["configured"] = "configured"
    settings: Settings


class TranscriptMessage(_ServerMessage):
    """News of the text. `words` come once and never change; `tail` replaces the tail before it.

    With `words: false` in `start`, `words` and `tail` stay empty and `text` and `tail_text` alone are given.
    """

    type: Literal["transcript"] = "transcript"
    seq: int
    words: list[WordItem]
    tail: list[WordItem]
    text: str
    tail_text: str
    utterance: int
    audio_received: float
    audio_processed: float
    buffered_ms: int


class SpeechStartedMessage(_ServerMessage):
    type: Literal["speech_started"] = "speech_started"
    seq: int
    time: float


class EndpointMessage(_ServerMessage):
    """An utterance is over; all its words have been sent before."""

    type: Literal["endpoint"] = "endpoint"
    seq: int
    utterance: int
    start: float
    end: float
    text: str


class RefinedMessage(_ServerMessage):
    """What a second, unhurried look made of the words that begin from `start` on and end by `end`.

    The committed words stand as they were. With `words: false` in `start`, `words` stays empty.
    """

    type: Literal["refined"] = "refined"
    seq: int
    utterance: int
    start: float
    end: float
    text: str
    words: list[WordItem]


class FlushedMessage(_ServerMessage):
    type: Literal["flushed"] = "flushed"
    seq: int
    id: str | int | None = None
    audio_processed: float


class Warning(_ServerMessage):
    """Something the user should know; the session goes on."""

    type: Literal["warning"] = "warning"
    code: ErrorCode
    message: str


class Error(_ServerMessage):
    """The session is over; the server closes the connection."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str


class Totals(_ServerMessage):
    """What the session came to."""

    audio_s: float
    words: int
    utterances: int


class Done(_ServerMessage):
    """The last message after `close`; the server then closes with code 1000."""

    type: Literal["done"] = "done"
    totals: Totals


ServerMessage = Annotated[
    Ready
    | Resumed
    | AckMessage
    | Configured
    | TranscriptMessage
    | SpeechStartedMessage
    | EndpointMessage
    | RefinedMessage
    | FlushedMessage
    | Warning
    | Error
    | Done,
    Field(discriminator="type"),
]

_client_messages: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
_server_messages: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


def parse_client_message(text: str | bytes) -> ClientMessage:
    """Raises pydantic.ValidationError; its first error's type is `json_invalid` where the text is no JSON."""
    return _client_messages.validate_json(text)


def parse_server_message(text: str | bytes) -> ServerMessage:
    """Raises pydantic.ValidationError."""
    return _server_messages.validate_json(text)


def json_schema() -> dict[str, Any]:
    """The protocol as one JSON schema; `$defs/ClientMessage` and `$defs/ServerMessage` are its two roots."""
    roots, schema = TypeAdapter.json_schemas(
        [
            ("ClientMessage", "validation", _client_messages),
            ("ServerMessage", "serialization", _server_messages),
        ],
        title=f"voicewire native protocol, version {PROTOCOL_VERSION}",
    )
    definitions = dict(schema.pop("$defs"))
    for (name, _), root in roots.items():
        definitions[str(name)] = root
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
        "$defs": definitions,
    }


def schema_text() -> str:
    """The content of docs/protocol.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
