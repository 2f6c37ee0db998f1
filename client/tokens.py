"""Tokens at the client: records that a server sends, as events, and files of tokens as what is sent to it.

`voicewire.codecs` reads them, and is imported when the first of them comes; for this it needs numpy alone.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from voicewire.client.errors import AudioFileError, ProtocolError
from voicewire.streaming.messages import Encoding, ServerMessage

if TYPE_CHECKING:
    from voicewire.codecs import Hello, RecordReader, Tokens

TOKEN_SUFFIX = ".vwt"
PIECE_S = 1.0


@dataclass(frozen=True, slots=True)
class TokensEvent:
    """The next tokens of a stream.

    Attributes:
        record: the message as it came; docs/tokens.md has its bytes.
        tokens: what it holds: `codes` of shape (frames, codebooks), and all that goes with them.
    """

    type: ClassVar[Literal["tokens"]] = "tokens"
    record: bytes
    tokens: "Tokens"

    @property
    def first_frame(self) -> int:
        """Counted from the beginning of the session's clock."""
        return self.tokens.first_frame

    @property
    def frames(self) -> int:
        return self.tokens.frames

    @property
    def start_s(self) -> float:
        """Where the first frame begins on the session's clock, in seconds."""
        return self.tokens.start_s

    @property
    def end_s(self) -> float:
        """Where the last one ends."""
        return self.tokens.start_s + self.tokens.duration_s


Event: TypeAlias = ServerMessage | TokensEvent


class TokenReceiver:
    """Reads the binary messages of one session."""

    def __init__(self) -> None:
        self._reader: RecordReader | None = None

    @property
    def hello(self) -> "Hello | None":
        """What the tokens are of; None before it has come."""
        return None if self._reader is None else self._reader.hello

    def take(self, record: bytes) -> TokensEvent | None:
        """The event of a message; None for one that brings no tokens. Raises ProtocolError."""
        from voicewire.codecs import RecordReader, TokensError

        if self._reader is None:
            self._reader = RecordReader()
        try:
            taken = self._reader.take(record)
        except TokensError as error:
            raise ProtocolError(f"the server sent tokens that cannot be: {error}") from error
        return None if taken is None else TokensEvent(record, taken.tokens)


class TokenRecording:
    """A file of tokens (`.vwt`), to be sent as such.

    Attributes:
        name: the file as it was named.
        encoding: as which its records are sent.
        sample_rate: of the sound that it stands for.
        duration_s: None: a file that is still being written ends where it is read to.

    Raises:
        AudioFileError: it is no file of tokens, or cannot be read.
    """

    encoding: Encoding = "tokens"
    duration_s: float | None = None

    def __init__(self, path: str | Path) -> None:
        from voicewire.codecs import TokenFile

        self.name = str(path)
        with self._explained():
            self._file = TokenFile(Path(path))
        self.sample_rate = self._file.hello.sample_rate

    def blocks(self, block_s: float = PIECE_S) -> Iterator[bytes]:
        """The hello, and records of at most so many seconds. Raises AudioFileError where it comes to damage."""
        from voicewire.codecs.record_stream import records_of

        most = max(1, int(block_s * self._file.hello.frame_rate))
        yield self._file.hello.to_bytes()
        with self._explained():
            for record in self._file.records():
                for piece in records_of(record.tokens, record.fresh, most):
                    yield piece.to_bytes()

    def seconds_of(self, record: bytes) -> float:
        """How much of the sound a record stands for."""
        from voicewire.codecs.records import RecordType, TokensRecord

        if record[0] != RecordType.TOKENS:
            return 0.0
        return TokensRecord.from_bytes(record, self._file.hello).tokens.duration_s

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from voicewire.codecs import TokensError

        try:
            yield
        except OSError as error:
            raise AudioFileError(f"{self.name} cannot be read: {error.strerror or error}") from error
        except TokensError as error:
            raise AudioFileError(f"{self.name} is no whole file of tokens: {error}") from error


def token_records(path: str | Path, piece_s: float = PIECE_S) -> Iterator[bytes]:
    """A file of tokens (`.vwt`) as the messages of a stream that was opened with ``encoding="tokens"``.

    Args:
        path: of the file.
        piece_s: each message stands for so many seconds at most.

    Raises:
        AudioFileError: it is none, or it is damaged; what came before the damage was given.
    """
    with closing(TokenRecording(path)) as recording:
        yield from recording.blocks(piece_s)
