"""The records that tokens travel in, on the wire and on disk, as docs/tokens.md describes them byte by byte.

Each record has a way to bytes and a way back; in which order they may come is the business of `record_stream`.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import TokensError
from voicewire.codecs.packing import MAX_BITS, pack, unpack
from voicewire.codecs.tokens import Tokens

MAGIC = b"VWT"
VERSION = 1
# Security limits: what a reader may be made to hold.
MAX_RECORD_BYTES = 2**18
MAX_CODEBOOKS = 1024
MAX_SAMPLE_RATE = 1_000_000
MAX_FRAME_SAMPLES = 2**16 - 1
MAX_RECORD_FRAMES = 2**16 - 1
MAX_FRAMES = 2**32 - 1
MAX_NAME_BYTES = 64
_DIGITS = frozenset("0123456789abcdef")
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
# The one flag of a record of tokens, in its second byte. Readers refuse any that they do not know.
FRESH = 0x01


class RecordType(IntEnum):
    """The first byte of a record. Readers pass over those that they do not know."""

    HELLO = 1
    TOKENS = 2
    END = 3
    INDEX = 4
    FOOTER = 5


@dataclass(frozen=True, slots=True)
class Hello:
    """What every record of a stream relies on.

    Attributes:
        codec: the codec's name, 1 to 64 of the characters a-z, 0-9 and _.
        weights_sha256: which weights made the tokens, 64 hexadecimal digits.
        sample_rate: samples per second, 1 to 1,000,000.
        frame_samples: samples per frame, 1 to 65,535.
        codebooks: the most codes per frame, 1 to 1,024.
        bits: bits per code, 1 to 16.

    Raises:
        TokensError: a field lies outside its bounds.
    """

    codec: str
    weights_sha256: str
    sample_rate: int
    frame_samples: int
    codebooks: int
    bits: int

    _LAYOUT = struct.Struct("<BB3sB32sIHHBB")

    def __post_init__(self) -> None:
        if not 1 <= len(self.codec) <= MAX_NAME_BYTES or set(self.codec) - _NAME_CHARACTERS:
            raise TokensError(f"no codec can be called {self.codec!r}")
        if len(self.weights_sha256) != 64 or set(self.weights_sha256) - _DIGITS:
            raise TokensError("weights are known by a SHA-256, 64 hexadecimal digits")
        for what, value, most in (
            ("samples per second", self.sample_rate, MAX_SAMPLE_RATE),
            ("samples per frame", self.frame_samples, MAX_FRAME_SAMPLES),
            ("codebooks", self.codebooks, MAX_CODEBOOKS),
            ("bits per code", self.bits, MAX_BITS),
        ):
            if not 1 <= value <= most:
                raise TokensError(f"{what} must be 1 to {most}, not {value}")
        if self.sample_rate % self.frame_rate:
            raise TokensError(
                f"frames of {self.frame_samples} samples have no exact rate at {self.sample_rate} Hz"
            )

    @classmethod
    def of(cls, codec: Codec) -> Self:
        """That of a stream of this codec."""
        frame_samples = round(codec.sample_rate / codec.frame_rate)
        return cls(
            codec.name, codec.weights_sha256, codec.sample_rate, frame_samples, codec.codebooks, codec.bits
        )

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.frame_samples

    def check(self, codec: Codec) -> None:
        """Raises TokensError where this codec cannot read the stream."""
        if codec.name != self.codec:
            raise TokensError(f"these are tokens of {self.codec}, not of {codec.name}")
        if codec.weights_sha256 != self.weights_sha256:
            raise TokensError(
                f"these tokens were made with other weights of {self.codec} than those loaded: theirs have the "
                f"SHA-256 {self.weights_sha256}, these {codec.weights_sha256}"
            )
        if Hello.of(codec) != self:
            raise TokensError(f"these tokens say of {self.codec} what is not so: they are damaged")

    def to_bytes(self) -> bytes:
        name = self.codec.encode("ascii")
        fields = (self.sample_rate, self.frame_samples, self.codebooks, self.bits, len(name))
        weights = bytes.fromhex(self.weights_sha256)
        return self._LAYOUT.pack(RecordType.HELLO, 0, MAGIC, VERSION, weights, *fields) + name

    @classmethod
    def from_bytes(cls, record: bytes) -> Self:
        """Raises TokensError for what is no hello, or one of another version."""
        size = cls._LAYOUT.size
        if len(record) < size or record[0] != RecordType.HELLO or record[2:5] != MAGIC:
            raise TokensError("this is no voicewire token stream: it does not begin with a hello")
        _, flags, _, version, weights, rate, frame, codebooks, bits, length = cls._LAYOUT.unpack(
            record[:size]
        )
        if version != VERSION or flags:
            raise TokensError(
                f"the tokens are of version {version}, and this reads version {VERSION}: upgrade it"
            )
        if len(record) != size + length:
            raise TokensError("the hello is not as long as it says")
        name = record[size:].decode("latin-1")
        return cls(name, weights.hex(), rate, frame, codebooks, bits)


@dataclass(frozen=True, slots=True)
class TokensRecord:
    """Frames.

    Attributes:
        tokens: the frames, at least one.
        fresh: what comes before them cannot be looked at: a window of the codec begins here.
    """

    tokens: Tokens
    fresh: bool = False

    LAYOUT = struct.Struct("<BBHHHI")

    def to_bytes(self) -> bytes:
        tokens = self.tokens
        padding = tokens.frames * tokens.frame_samples - tokens.samples
        flags = FRESH if self.fresh else 0
        head = (flags, tokens.codebooks, tokens.frames, padding, tokens.first_frame)
        return self.LAYOUT.pack(RecordType.TOKENS, *head) + pack(tokens.codes, tokens.bits)

    @classmethod
    def from_bytes(cls, record: bytes, hello: Hello) -> Self:
        """Raises TokensError for frames that the stream cannot have."""
        size = cls.LAYOUT.size
        if len(record) < size or record[0] != RecordType.TOKENS:
            raise TokensError("a record of tokens ends in its head, or is none")
        _, flags, codebooks, frames, padding, first = cls.LAYOUT.unpack(record[:size])
        if flags & ~FRESH:
            raise TokensError(
                f"a record of tokens has flags that are not known ({flags:#04x}): upgrade the reader"
            )
        if not 1 <= codebooks <= hello.codebooks:
            raise TokensError(f"a record has {codebooks} codebooks of {hello.codebooks}")
        if not frames or padding >= hello.frame_samples or first + frames > MAX_FRAMES:
            raise TokensError("a record has no frames, or more padding than a frame, or ends beyond all time")
        codes = unpack(memoryview(record)[size:], frames, codebooks, hello.bits)
        samples = frames * hello.frame_samples - padding
        tokens = Tokens(
            hello.codec, hello.sample_rate, hello.frame_rate, codebooks, hello.bits, first, samples, codes
        )
        return cls(tokens, bool(flags & FRESH))


def most_frames(codebooks: int, bits: int) -> int:
    """How many frames fit into one record."""
    room = MAX_RECORD_BYTES - TokensRecord.LAYOUT.size
    return min(MAX_RECORD_FRAMES, room * 8 // (codebooks * bits))


@dataclass(frozen=True, slots=True)
class End:
    """The stream is over, and was whole.

    Attributes:
        end_frame: the frame that would come next.
        samples: exact number of samples from the stream's first frame on.
    """

    end_frame: int
    samples: int

    _LAYOUT = struct.Struct("<BBHIQ")
    SIZE = _LAYOUT.size

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(RecordType.END, 0, 0, self.end_frame, self.samples)

    @classmethod
    def from_bytes(cls, record: bytes) -> Self:
        if len(record) != cls.SIZE or record[:4] != bytes((RecordType.END, 0, 0, 0)):
            raise TokensError("the end of the tokens is none that is known")
        _, _, _, end_frame, samples = cls._LAYOUT.unpack(record)
        return cls(end_frame, samples)


@dataclass(frozen=True, slots=True)
class Index:
    """Where in a file frames lie: pairs of a record's first frame and its place in bytes, both rising."""

    entries: tuple[tuple[int, int], ...]

    _LAYOUT = struct.Struct("<BBHI")
    _ENTRY = struct.Struct("<IQ")

    def to_bytes(self) -> bytes:
        head = self._LAYOUT.pack(RecordType.INDEX, 0, 0, len(self.entries))
        return head + b"".join(self._ENTRY.pack(*entry) for entry in self.entries)

    @classmethod
    def from_bytes(cls, record: bytes) -> Self:
        body = record[cls._LAYOUT.size :]
        if record[:4] != bytes((RecordType.INDEX, 0, 0, 0)) or len(body) % cls._ENTRY.size:
            raise TokensError("the index of the tokens is none that is known")
        entries = tuple(cls._ENTRY.iter_unpack(body))
        if record[4:8] != len(entries).to_bytes(4, "little"):
            raise TokensError("the index of the tokens is not as long as it says")
        return cls(entries)


@dataclass(frozen=True, slots=True)
class Footer:
    """The last record of a file, of fixed size: at which byte the index begins."""

    index_place: int

    _LAYOUT = struct.Struct("<BBQ")
    SIZE = _LAYOUT.size

    def to_bytes(self) -> bytes:
        return self._LAYOUT.pack(RecordType.FOOTER, 0, self.index_place)

    @classmethod
    def from_bytes(cls, record: bytes) -> Self:
        if len(record) != cls.SIZE or record[0] != RecordType.FOOTER or record[1]:
            raise TokensError("the footer of the tokens is none that is known")
        return cls(cls._LAYOUT.unpack(record)[2])
