"""What an operator may set: where to listen, which model, and the bounds that keep one client from harming others.

A flag overrides the environment (VOICEWIRE_PORT=9000), which overrides a TOML file, which overrides the default.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FilePath, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from voicewire.asr.settings import StreamSettings
from voicewire.streaming.messages import ChunkMs, CommitMs, Limits, Ticket

ENVIRONMENT_PREFIX = "VOICEWIRE_"

# A port, with a host before it or without; or nothing.
_ADDRESS = r"^$|^([^\s:]+:|\[[^\s\]]+\]:)?[0-9]{1,5}$"

MOST_SESSIONS = 10_000

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _names(value: Any) -> Any:
    """`VOICEWIRE_CODECS=lyra_v2,encodec_24khz`; elsewhere it is a list already."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class ServerSettings(BaseSettings):
    """Settings of one server.

    The fields after `max_sessions` are security limits: each bounds what one client can take from the others, and
    docs/protocol.md says what a client meets at it. Raise one only where every client is trusted.

    Attributes:
        host: address to listen on; 0.0.0.0 is every interface.
        port: 0 takes a free one.
        name: of this server among several behind a proxy, which leads clients that come back to it by that name:
            letters, digits, `.`, `_` and `-`.
        model: name of the model, as `voicewire.asr.weights` knows it.
        adapter: `default`, `none`, or the path of an adapter.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        threads: the sessions are dealt out to so many recognisers, each with a processor; None: one for each core.
        chunk_ms, commit_ms: what a session gets whose `start` names none.
        codecs: those to load: names, `auto` (lyra_v2 where its weights are in the cache) or `none`.
        vosk, wyoming: `[HOST:]PORT` for clients of these protocols; nothing where there is to be no such port.
        page: whether the captions page is served at `/`, where the program that serves brings one.
        metrics: whether `/metrics` is served.
        traces: where OpenTelemetry spans of each session's stages go, OTLP over HTTP; empty makes none.
        stall_s: seconds that one turn of the engine may take before `/healthz` gives the process up.
        overload_s: seconds of audio that a session which sends at the pace of speech may be behind; before that,
            less is done for all, and then the youngest are ended. 0 lets it be.
        api_keys: file of the keys that clients must have one of; None asks for none.
        allow_origins: origins whose pages may come in besides the server's own, such as `https://captions.example`;
            `*` is any.
        tls_cert, tls_key: files of a certificate with its chain and of its key, in PEM; None is no TLS.
        handover: folder in which a stopping server leaves the sessions whose clients come back, for the next one;
            None ends them.
        record: folder in which every session is kept, frames and messages, for `voicewire replay`; None keeps
            nothing. It holds what people say.
        record_session_bytes, record_total_bytes: bounds of one recording, and of all that one process writes.
        max_sessions: security limit: sessions at one time; `auto` measures at the start what the machine carries,
            which takes a few seconds. Memory for all of them is taken at start-up.
        message_bytes: security limit: bytes of one websocket message. A longer one is refused at its header (or at
            the fragment that crosses the bound), before it is in memory.
        handshake_s: security limit: seconds from the connection to a whole HTTP request, and from the websocket's
            handshake to `start`. A slot is held from the handshake on.
        idle_s: security limit: seconds without any message. It is also what ends a connection whose other side
            vanished without a word.
        session_s: security limit: seconds from `start` to the end of a session.
        buffered_s: security limit: seconds of audio received and not yet looked at. At this bound the server stops
            reading the connection; one message may hold no more than this. At least 2, since audio waits for the
            rest of its block.
        pending_flushes: security limit: `flush` messages not yet answered. At this bound the server stops reading
            the connection.
        outgoing_items: security limit: messages and words that wait for a client that does not read.
        refine_s: seconds that a session which asked for `refine` waits for a stretch to be heard once more, before
            that is left out; at its end too.
        drain_s: security limit: seconds from `close` (or a server-side end) to the last word, and seconds that a
            client is held back by an engine that makes no headway.
        resume_s: security limit: seconds that a session waits, in its slot, for a client that asked for it and
            whose connection was lost; 0 waits for nobody.
        farewell_s: security limit: seconds to deliver the last messages and the closing handshake.
        upload_bytes: security limit: bytes of a recording sent over HTTP, which is held in memory; it needs a slot
            like any session.
        upload_s: security limit: seconds in which a request's body must be whole.
        shutdown_s: seconds that a stopping server gives its sessions to receive their last words.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, validate_default=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    model: str = "base"
    adapter: str = "default"
    device: str = "auto"
    precision: str = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    chunk_ms: ChunkMs = 300
    commit_ms: CommitMs = 1200
    codecs: Names = ("auto",)
    vosk: Annotated[str, Field(pattern=_ADDRESS)] = ""
    wyoming: Annotated[str, Field(pattern=_ADDRESS)] = ""
    page: bool = True
    metrics: bool = True
    traces: str = ""
    stall_s: Seconds = 30.0
    overload_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 4.0
    api_keys: Path | None = None
    allow_origins: Names = ()
    tls_cert: FilePath | None = None
    tls_key: FilePath | None = None
    handover: Path | None = None
    record: Path | None = None
    record_session_bytes: Annotated[int, Field(ge=4096)] = 256 * 1024 * 1024
    record_total_bytes: Annotated[int, Field(ge=4096)] = 10 * 1024**3
    max_sessions: Annotated[int, Field(ge=1, le=MOST_SESSIONS)] | Literal["auto"] = 8

    message_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    handshake_s: Seconds = 10.0
    idle_s: Seconds = 30.0
    session_s: Seconds = 4 * 3600.0
    buffered_s: Annotated[float, Field(ge=2, allow_inf_nan=False)] = 30.0
    pending_flushes: Annotated[int, Field(ge=1)] = 64
    outgoing_items: Annotated[int, Field(ge=16)] = 2000
    refine_s: Seconds = 10.0
    drain_s: Seconds = 60.0
    resume_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 30.0
    farewell_s: Seconds = 5.0
    upload_bytes: Annotated[int, Field(ge=1024)] = 25 * 1024 * 1024
    upload_s: Seconds = 120.0
    shutdown_s: Seconds = 10.0

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both, or none")
        return self

    @classmethod
    def load(cls, toml_file: Path | None = None, **flags: Any) -> "ServerSettings":
        """Settings from `flags` (those that are None are not set), the environment and `toml_file`, in this order.

        Raises FileNotFoundError where the named file is missing, pydantic.ValidationError where a value is wrong.
        """
        if toml_file is not None and not toml_file.is_file():
            raise FileNotFoundError(f"no configuration file at {toml_file}: name an existing one, or none")

        # The library takes the file's name from the class, not from the call.
        class FromFile(cls):  # type: ignore[misc, valid-type]
            model_config = SettingsConfigDict(toml_file=toml_file, title=cls.__name__)

        given = {name: value for name, value in flags.items() if value is not None}
        return cls.model_construct(**FromFile(**given).model_dump())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def as_toml(self) -> str:
        """A TOML file of all settings, for `load`; one that is not set stands there as a comment."""
        lines = (
            f"# {name} =" if value is None else f"{name} = {_toml(value)}"
            for name, value in self.model_dump(mode="json").items()
        )
        return "".join(f"{line}\n" for line in lines)

    @property
    def most_sessions(self) -> int:
        """Sessions at one time; where that is measured, the recognisers say how many."""
        return MOST_SESSIONS if self.max_sessions == "auto" else self.max_sessions

    @property
    def limits(self) -> Limits:
        """The limits that a client is told in `ready`."""
        return Limits(
            message_bytes=self.message_bytes,
            idle_s=self.idle_s,
            session_s=self.session_s,
            buffered_s=self.buffered_s,
        )

    def ticket(self, token: str) -> Ticket:
        """What a client is given in `ready` to come back with."""
        return Ticket(token=token, window_s=self.resume_s, server=self.name or None)

    @property
    def stream(self) -> StreamSettings:
        """What a session gets that asks for nothing. Raises SettingsError."""
        return StreamSettings(chunk_ms=self.chunk_ms, commit_ms=self.commit_ms)


def _toml(value: Any) -> str:
    """A string, a number or a list is written as in JSON, but for a character that TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
