"""What client and server have agreed on for one session: the client's wishes, filled up with the server's own."""

from dataclasses import dataclass, replace

from voicewire.asr.errors import SettingsError
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import Configure, ErrorCode, Settings, Start


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of one session.

    Attributes:
        start: as the client sent it.
        stream: what holds for the recogniser.
    """

    start: Start
    stream: StreamSettings

    @classmethod
    def of(cls, start: Start, chunk_ms: int, commit_ms: int) -> "Terms":
        """`chunk_ms` and `commit_ms` hold where `start` names none, as far as they fit what it names.

        Raises SessionError for settings that exclude each other.
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
            )
        except SettingsError as error:
            raise SessionError(ErrorCode.UNSUPPORTED_SETTING, str(error)) from error
        return cls(start, stream)

    def changed(self, configure: Configure) -> "Terms":
        """Raises SessionError for settings that exclude each other."""
        try:
            stream = self.stream.with_changes(
                chunk_ms=configure.chunk_ms, commit_ms=configure.commit_ms, endpoint_ms=configure.endpoint_ms
            )
        except SettingsError as error:
            raise SessionError(ErrorCode.UNSUPPORTED_SETTING, str(error)) from error
        return replace(self, stream=stream)

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
        )
