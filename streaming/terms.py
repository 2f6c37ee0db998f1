"""What client and server have agreed on for one session: the client's wishes, filled up with the server's own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from voicewire.asr.errors import SettingsError
from voicewire.asr.settings import StreamSettings
from voicewire.codecs.bitrate import codebooks_at, kbps
from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import BitrateError
from voicewire.streaming.codec_shelf import unavailable
from voicewire.streaming.commands import OpenStream, Part, TokenSettings
from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import Configure, ErrorCode, Limits, Ready, Settings, Start, Ticket


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of one session.

    Attributes:
        start: as the client sent it.
        stream: what holds for the recogniser.
        codec: what makes its tokens; None where none are wanted.
        codebooks: codes per frame of these.
        refine: whether what is said is heard once more.
    """

    start: Start
    stream: StreamSettings
    codec: Codec | None = None
    codebooks: int = 0
    refine: bool = False

    @classmethod
    def of(cls, start: Start, chunk_ms: int, commit_ms: int, codecs: Mapping[str, Codec]) -> "Terms":
        """`chunk_ms` and `commit_ms` hold where `start` names none, as far as they fit what it names.

        Raises SessionError for settings that exclude each other, and for a codec that is not in `codecs`.
        """
        if start.chunk_ms is not None:
            chunk_ms = start.chunk_ms
        elif start.commit_ms is not None:
            chunk_ms = min(chunk_ms, start.commit_ms)
        try:
            stream = StreamSettings(
                chunk_ms=chunk_ms,
                commit_ms=max(commit_ms, chunk_ms) if start.commit_ms is None else start.commit_ms,
                endpoint_ms=start.endpoint_ms,
                language=start.language,
                interim=start.interim,
                keyterms=tuple(start.keyterms),
            )
        except SettingsError as error:
            raise SessionError(ErrorCode.UNSUPPORTED_SETTING, str(error)) from error
        if start.refine:
            _check_refine(start)
        if "tokens" not in start.outputs:
            return cls(start, stream, refine=start.refine)
        codec = codecs.get(start.codec)
        if codec is None:
            raise unavailable(start.codec, codecs)
        return cls(start, stream, codec, _codebooks(codec, start.bitrate_kbps), refine=start.refine)

    def changed(self, configure: Configure) -> "Terms":
        """Raises SessionError for settings that exclude each other."""
        try:
            stream = self.stream.with_changes(
                chunk_ms=configure.chunk_ms, commit_ms=configure.commit_ms, endpoint_ms=configure.endpoint_ms
            )
        except SettingsError as error:
            raise SessionError(ErrorCode.UNSUPPORTED_SETTING, str(error)) from error
        if configure.refine:
            _check_refine(self.start)
        refine = self.refine if configure.refine is None else configure.refine
        if configure.bitrate_kbps is None:
            return replace(self, stream=stream, refine=refine)
        if self.codec is None:
            raise SessionError(ErrorCode.UNSUPPORTED_SETTING, "bitrate_kbps: the session makes no tokens")
        codebooks = _codebooks(self.codec, configure.bitrate_kbps)
        return replace(self, stream=stream, codebooks=codebooks, refine=refine)

    @property
    def parts(self) -> frozenset[Part]:
        """What is made of the audio."""
        return frozenset(Part[output.upper()] for output in self.start.outputs)

    @property
    def tokens(self) -> TokenSettings | None:
        """What holds for the codec; None where no tokens are wanted."""
        if self.codec is None:
            return None
        return TokenSettings(self.codec.name, self.codebooks, self.stream.chunk_ms)

    @property
    def opening(self) -> OpenStream:
        """What the engine is asked for."""
        settings = self.stream if Part.WORDS in self.parts else None
        return OpenStream(settings, self.tokens, takes_tokens=self.start.encoding == "tokens")

    def ready(self, session_id: str, model: str, limits: Limits, ticket: Ticket | None) -> Ready:
        """The answer to `start`."""
        return Ready(session_id=session_id, model=model, settings=self.message, limits=limits, resume=ticket)

    @property
    def message(self) -> Settings:
        """What a client is told that holds."""
        return Settings(
            encoding=self.start.encoding,
            sample_rate=self.start.sample_rate,
            channels=self.start.channels,
            language=self.stream.language,
            chunk_ms=self.stream.chunk_ms,
            commit_ms=self.stream.commit_ms,
            endpoint_ms=self.stream.endpoint_ms,
            interim=self.stream.interim,
            words=self.start.words,
            outputs=[output for output in ("words", "tokens") if output in self.start.outputs],
            codec=self.codec.name if self.codec else None,
            bitrate_kbps=kbps(self.codec, self.codebooks) if self.codec else None,
            keyterms=list(self.stream.keyterms),
            refine=self.refine,
        )


def _check_refine(start: Start) -> None:
    """Raises SessionError where there are no words, or no audio, that could be heard once more."""
    if "words" not in start.outputs or start.encoding == "tokens":
        raise SessionError(ErrorCode.UNSUPPORTED_SETTING, "refine: needs audio, and words among the outputs")


def _codebooks(codec: Codec, wanted_kbps: float | None) -> int:
    """How many codebooks a bitrate is; all that the codec has where none was asked for."""
    if wanted_kbps is None:
        return codec.codebooks
    try:
        return codebooks_at(codec, wanted_kbps)
    except BitrateError as error:
        raise SessionError(ErrorCode.UNSUPPORTED_SETTING, f"bitrate_kbps: {error}") from error
