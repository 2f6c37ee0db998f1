"""Streams of tokens as records in their order: hello, tokens without a gap, end. On the wire each is one message.

No sockets: records go in and out as bytes. `token_file` adds what a pipe or a disk needs.
"""

from collections.abc import Iterator
from dataclasses import replace

from voicewire.codecs.errors import TokensError
from voicewire.codecs.records import (
    MAX_FRAMES,
    MAX_RECORD_BYTES,
    End,
    Hello,
    RecordType,
    TokensRecord,
    most_frames,
)
from voicewire.codecs.tokens import Tokens


class StreamPosition:
    """How far a stream of tokens has come: what either side counts, and checks the next piece against."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self.frame: int | None = None
        self.samples = 0
        self._padded = False

    def advance(self, tokens: Tokens) -> None:
        """Raises TokensError where these tokens cannot come next."""
        hello = self._hello
        if (tokens.codec, tokens.bits, tokens.sample_rate, tokens.frame_samples) != (
            hello.codec,
            hello.bits,
            hello.sample_rate,
            hello.frame_samples,
        ) or not 1 <= tokens.codebooks <= hello.codebooks:
            raise TokensError(f"these tokens are not of the stream of {hello.codec} that was begun")
        if self.frame is not None and tokens.first_frame != self.frame:
            raise TokensError(f"frame {tokens.first_frame} came where {self.frame} was due")
        if tokens.first_frame + tokens.frames > MAX_FRAMES:
            raise TokensError(f"a stream ends at frame {MAX_FRAMES}: begin a new one")
        if self._padded and tokens.frames:
            raise TokensError("frames came after a padded one, which is always the last")
        if not tokens.frames:
            return
        self.frame = tokens.first_frame + tokens.frames
        self.samples += tokens.samples
        self._padded = tokens.samples < tokens.frames * tokens.frame_samples

    def end(self) -> End:
        return End(self.frame or 0, self.samples)


def records_of(tokens: Tokens, fresh: bool, most: int = MAX_FRAMES) -> Iterator[TokensRecord]:
    """The tokens in records of at most so many frames, and never more than a record can hold."""
    size, most = tokens.frame_samples, min(most, most_frames(tokens.codebooks, tokens.bits))
    for start in range(0, tokens.frames, most):
        codes = tokens.codes[start : start + most]
        samples = min(len(codes) * size, tokens.samples - start * size)
        part = replace(tokens, first_frame=tokens.first_frame + start, samples=samples, codes=codes)
        yield TokensRecord(part, fresh and not start)


class RecordWriter:
    """Tokens to records, of which each is to be carried whole: a message of a websocket."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._position = StreamPosition(hello)

    def begin(self) -> bytes:
        """The first record."""
        return self._hello.to_bytes()

    def write(self, tokens: Tokens, *, fresh: bool = False) -> list[bytes]:
        """The records of the next piece.

        Args:
            tokens: of any number of codebooks up to the hello's.
            fresh: what comes before them cannot be looked at.

        Raises:
            TokensError: they are not of this stream, or do not come next.
        """
        self._position.advance(tokens)
        return [record.to_bytes() for record in records_of(tokens, fresh)]

    def end(self) -> bytes:
        """The last record."""
        return self._position.end().to_bytes()


class RecordReader:
    """Records to tokens; all that a peer sends is checked.

    Attributes:
        hello: None until it has come.
        ended: whether the end has come, and with it all the tokens.
    """

    def __init__(self) -> None:
        self.hello: Hello | None = None
        self.ended = False
        self._position: StreamPosition | None = None

    def skip_to(self, frame: int, samples: int) -> None:
        """The next record of tokens is a later one: it begins with this frame, after so many samples."""
        if self._position is None:
            raise TokensError("a stream begins with its hello")
        self._position.frame, self._position.samples = frame, samples

    def take(self, record: bytes) -> TokensRecord | None:
        """The next record: its tokens, or None for one without tokens, or of a type that is not known.

        Raises:
            TokensError: it is damaged, or cannot come here. The stream cannot be read on.
        """
        if not 2 <= len(record) <= MAX_RECORD_BYTES:
            raise TokensError(f"a record has 2 to {MAX_RECORD_BYTES} bytes, not {len(record)}")
        if self.hello is None or self._position is None:
            self.hello = Hello.from_bytes(record)
            self._position = StreamPosition(self.hello)
            return None
        kind = record[0]
        if self.ended and kind in (RecordType.HELLO, RecordType.TOKENS, RecordType.END):
            raise TokensError("the stream goes on after its end")
        if kind == RecordType.HELLO:
            raise TokensError("a second hello came in mid-stream")
        if kind == RecordType.END:
            if End.from_bytes(record) != self._position.end():
                raise TokensError("the stream has more or fewer frames than its end says")
            self.ended = True
        if kind != RecordType.TOKENS:
            return None
        taken = TokensRecord.from_bytes(record, self.hello)
        self._position.advance(taken.tokens)
        return taken
