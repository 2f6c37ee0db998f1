"""Tokens at the client: records that a server sends, as events, and files of tokens as what is sent to it.

`voicewire.codecs` reads them, and is imported when the first of them comes; for this it needs numpy alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from voicewire.client.errors import AudioFileError, ProtocolError
from voicewire.streaming.messages import ServerMessage

if TYPE_CHECKING:
    from voicewire.codecs import Hello, RecordReader, Tokens

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


def token_records(path: str | Path, piece_s: float = PIECE_S) -> Iterator[bytes]:
    """A file of tokens (`.vwt`) as the messages of a stream that was opened with ``encoding="tokens"``.

    Args:
        path: of the file.
        piece_s: each message stands for so many seconds at most.

    Raises:
        AudioFileError: it is none, or it is damaged; what came before the damage was given.
    """
    from voicewire.codecs import TokenFile, TokensError
    from voicewire.codecs.record_stream import records_of

    try:
        with TokenFile(Path(path)) as file:
            yield file.hello.to_bytes()
            most = max(1, int(piece_s * file.hello.frame_rate))
            for record in file.records():
                for piece in records_of(record.tokens, record.fresh, most):
                    yield piece.to_bytes()
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except TokensError as error:
        raise AudioFileError(f"{path} is no whole file of tokens: {error}") from error
