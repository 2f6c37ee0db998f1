"""Records as one run of bytes, for a disk or a pipe: each with its length before it and a checksum behind.

What is written needs no seeking and no knowledge of the length, and ends with an index to seek by. What is read
may come in any pieces; it is given up to the first damage, which is then told.
"""

import struct
import zlib

from voicewire.codecs.errors import DamagedTokensError, TokensError
from voicewire.codecs.record_stream import RecordReader, StreamPosition, records_of
from voicewire.codecs.records import MAX_RECORD_BYTES, End, Footer, Hello, Index, RecordType, TokensRecord
from voicewire.codecs.tokens import Tokens, joined

# As PNG's: not text, and altered by whatever takes it for text.
SIGNATURE = b"\x89VWT\r\n\x1a\n"
LENGTH = struct.Struct("<I")
FRAME_BYTES = 2 * LENGTH.size  # around each record: its length and its checksum
END_BYTES = End.SIZE + FRAME_BYTES
FOOTER_BYTES = Footer.SIZE + FRAME_BYTES
# With more entries than this every second one is dropped: an endless stream's index stays within a record.
MOST_ENTRIES = 16_384
RECORD_S = 5.0


def framed(record: bytes) -> bytes:
    """The record with its length (u32) before it and the CRC-32 of both (u32) behind."""
    data = LENGTH.pack(len(record)) + record
    return data + LENGTH.pack(zlib.crc32(data))


def unframed(data: bytes | bytearray, place: int = 0) -> bytes | None:
    """The record that begins at this place; None where the bytes end before it does.

    Raises:
        DamagedTokensError: the length is impossible, or the checksum another.
    """
    if len(data) < place + LENGTH.size:
        return None
    size = LENGTH.unpack_from(data, place)[0]
    if not 2 <= size <= MAX_RECORD_BYTES:
        raise DamagedTokensError(f"a record cannot have {size} bytes")
    end = place + LENGTH.size + size
    if len(data) < end + LENGTH.size:
        return None
    whole = bytes(data[place:end])
    if zlib.crc32(whole) != LENGTH.unpack_from(data, end)[0]:
        raise DamagedTokensError("the checksum of a record is wrong")
    return whole[LENGTH.size :]


class TokenWriter:
    """Tokens to bytes: `begin`, then `write` as often as there are tokens, then `end`.

    Args:
        hello: what the stream is of.
        record_s: pieces are gathered to records of so much, and cut at twice as much; 0 gives each piece at once,
            for 20 bytes more.
    """

    def __init__(self, hello: Hello, record_s: float = RECORD_S) -> None:
        self._hello = hello
        self._position = StreamPosition(hello)
        self._least_frames = record_s * hello.frame_rate
        self._most_frames = max(1, int(2 * (record_s or RECORD_S) * hello.frame_rate))
        self._waiting: list[Tokens] = []
        self._fresh = False
        self._places = Places()
        self._written = 0

    def begin(self) -> bytes:
        """The first bytes."""
        return self._count(SIGNATURE + framed(self._hello.to_bytes()))

    def write(self, tokens: Tokens, *, fresh: bool = False) -> bytes:
        """What became ready by the next piece, possibly nothing.

        Args:
            tokens: of any number of codebooks up to the hello's.
            fresh: what comes before them cannot be looked at.

        Raises:
            TokensError: they are not of this stream, or do not come next.
        """
        self._position.advance(tokens)
        if not tokens.frames:
            return b""
        begins = fresh or bool(self._waiting and tokens.codebooks != self._waiting[0].codebooks)
        data = self.flush() if begins else b""
        self._fresh = self._fresh or fresh
        self._waiting.append(tokens)
        gathered = tokens.first_frame + tokens.frames - self._waiting[0].first_frame
        return data + self.flush() if gathered >= self._least_frames else data

    def flush(self) -> bytes:
        """What is gathered, now."""
        if not self._waiting:
            return b""
        data = b""
        for record in records_of(joined(self._waiting), self._fresh, self._most_frames):
            self._places.add(record.tokens.first_frame, self._written)
            data += self._count(framed(record.to_bytes()))
        self._waiting, self._fresh = [], False
        return data

    def end(self) -> bytes:
        """The last bytes: what is gathered, the end, the index and the footer."""
        data = self.flush() + self._count(framed(self._position.end().to_bytes()))
        return data + framed(self._places.index().to_bytes()) + framed(Footer(self._written).to_bytes())

    def _count(self, data: bytes) -> bytes:
        self._written += len(data)
        return data


class Places:
    """Where records lie, few enough for one index however many there are."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, int]] = []
        self._seen, self._stride = 0, 1

    def add(self, first_frame: int, place: int) -> None:
        if self._seen % self._stride == 0:
            self._entries.append((first_frame, place))
        self._seen += 1
        if len(self._entries) > MOST_ENTRIES:
            self._entries, self._stride = self._entries[::2], 2 * self._stride

    def index(self) -> Index:
        return Index(tuple(self._entries))


class TokenReader:
    """Bytes to tokens: `push` them as they come, then `finish`.

    Attributes:
        hello: None until it has come.
        complete: whether everything has come, to the last byte.
    """

    def __init__(self) -> None:
        self.complete = False
        self._records = RecordReader()
        self._waiting = bytearray()
        self._signed = False
        self._damage: TokensError | None = None

    @property
    def hello(self) -> Hello | None:
        return self._records.hello

    def push(self, data: bytes) -> list[TokensRecord]:
        """The next bytes, in any cut; gives the records of tokens that they complete.

        Raises:
            TokensError: the stream is damaged, or none. Where this data held good records before the damage, they
                are given first, and the next call raises.
        """
        if self._damage is not None:
            raise self._damage
        self._waiting += data
        taken: list[TokensRecord] = []
        try:
            self._take_waiting(taken)
        except TokensError as error:
            self._damage = error
            self._waiting.clear()
            if not taken:
                raise
        return taken

    def skip_to(self, frame: int, samples: int) -> None:
        """The next bytes are those of a later record, whose first frame this is, after so many samples."""
        self._records.skip_to(frame, samples)

    def finish(self) -> None:
        """The end of the bytes. Raises TokensError where more were due, or `push` found damage."""
        if self._damage is not None:
            raise self._damage
        if not self._signed or self.hello is None:
            raise TokensError("this is no voicewire token stream: it ends before it has begun")
        if not self.complete:
            raise DamagedTokensError("the tokens are cut short")

    def _take_waiting(self, taken: list[TokensRecord]) -> None:
        """Adds to `taken` what the waiting bytes complete."""
        if not self._signed:
            if not SIGNATURE.startswith(self._waiting[: len(SIGNATURE)]):
                raise TokensError("this is no voicewire token stream: it does not begin like one")
            if len(self._waiting) < len(SIGNATURE):
                return
            self._signed = True
            del self._waiting[: len(SIGNATURE)]
        place = 0
        try:
            while record := unframed(self._waiting, place):
                place += len(record) + FRAME_BYTES
                self._take(record, taken)
            if self.complete and place < len(self._waiting):
                raise DamagedTokensError("something follows the end of the tokens")
        finally:
            del self._waiting[:place]

    def _take(self, record: bytes, taken: list[TokensRecord]) -> None:
        if self.complete:
            raise DamagedTokensError("something follows the end of the tokens")
        tokens = self._records.take(record)
        if tokens is not None:
            taken.append(tokens)
        if record[0] == RecordType.FOOTER:
            if not self._records.ended:
                raise DamagedTokensError("the footer comes before the end of the tokens")
            self.complete = True
