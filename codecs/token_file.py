"""Files of tokens (`.vwt`), read from any moment on, and the sound of any stretch of them."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import DamagedTokensError, TokensError
from voicewire.codecs.framing import (
    END_BYTES,
    FOOTER_BYTES,
    FRAME_BYTES,
    LENGTH,
    SIGNATURE,
    TokenReader,
    unframed,
)
from voicewire.codecs.records import MAX_RECORD_BYTES, End, Footer, Hello, Index, TokensRecord
from voicewire.codecs.stream import decoder_stream
from voicewire.codecs.tokens import Tokens

READ_BYTES = 64 * 1024


def read_tokens(file: BinaryIO, reader: TokenReader | None = None) -> Iterator[TokensRecord]:
    """The records of a file or a pipe, as they come.

    Raises:
        DamagedTokensError: it is cut short or damaged; whatever was good has been given before.
        TokensError: it is no stream of tokens.
    """
    reader = TokenReader() if reader is None else reader
    # A pipe's read1 gives what has come instead of waiting for all of it.
    read = getattr(file, "read1", file.read)
    while data := read(READ_BYTES):
        yield from reader.push(data)
    reader.finish()


class TokenFile(AbstractContextManager["TokenFile"]):
    """An open file of tokens.

    Attributes:
        hello: what its records rely on.
        samples: how many the whole file stands for; None where it is cut short or damaged.

    Raises:
        OSError: the file cannot be opened.
        TokensError: it is no file of tokens.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - `close` closes it
        self._size = self._file.seek(0, os.SEEK_END)
        try:
            self.hello, self._first_place = self._read_hello()
            self._index, self.samples = self._read_index()
        except BaseException:
            self._file.close()
            raise

    def tokens(self, first_frame: int = 0) -> Iterator[Tokens]:
        """The tokens from the record on that holds this frame, or from the first where that comes later.

        Raises:
            DamagedTokensError: the file is cut short or damaged; whatever was good has been given before.
        """
        entry = self._entry_before(first_frame)
        self._file.seek(0)
        reader = TokenReader()
        reader.push(self._file.read(self._first_place))
        if entry is not None:
            frame, place = entry
            reader.skip_to(frame, (frame - self._index.entries[0][0]) * self.hello.frame_samples)
            self._file.seek(place)
        for record in read_tokens(self._file, reader):
            if record.tokens.first_frame + record.tokens.frames > first_frame:
                yield record.tokens

    def records(self) -> Iterator[TokensRecord]:
        """All of them. Raises DamagedTokensError as `read_tokens`."""
        self._file.seek(0)
        return read_tokens(self._file)

    def sound(
        self, codec: Codec, start_s: float = 0.0, duration_s: float | None = None
    ) -> Iterator[np.ndarray]:
        """What the file sounds like from a moment on, read from no further back than it takes.

        Arguments and errors are those of `sound`; another codec or other weights than the file's are refused.
        """
        self.hello.check(codec)
        first = round(start_s * codec.sample_rate) // self.hello.frame_samples - codec.preroll
        return sound(self.tokens(first), codec, start_s, duration_s)

    def close(self) -> None:
        self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_hello(self) -> tuple[Hello, int]:
        """The hello, and where the record behind it begins."""
        self._file.seek(0)
        if self._file.read(len(SIGNATURE)) != SIGNATURE:
            raise TokensError("this is no file of tokens: it does not begin like one")
        record = self._record_at(len(SIGNATURE))
        return Hello.from_bytes(record), len(SIGNATURE) + len(record) + FRAME_BYTES

    def _read_index(self) -> tuple[Index, int | None]:
        """The index, without entries where the file is cut short or damaged, and what the end before it counts."""
        try:
            footer = Footer.from_bytes(self._record_at(self._size - FOOTER_BYTES))
            index = Index.from_bytes(self._record_at(footer.index_place))
        except TokensError:
            return Index(()), None
        try:
            return index, End.from_bytes(self._record_at(footer.index_place - END_BYTES)).samples
        except TokensError:
            return index, None

    def _entry_before(self, first_frame: int) -> tuple[int, int] | None:
        """The last indexed record that begins no later: its first frame and its place.

        None where there is none, or where something else is found there: the index is not believed then.
        """
        entry = max((entry for entry in self._index.entries if entry[0] <= first_frame), default=None)
        if entry is None:
            return None
        frame, place = entry
        try:
            record = TokensRecord.from_bytes(self._record_at(place), self.hello)
        except TokensError:
            return None
        return entry if record.tokens.first_frame == frame else None

    def _record_at(self, place: int) -> bytes:
        """Raises DamagedTokensError where there is none."""
        if not 0 <= place <= self._size:
            raise DamagedTokensError("a record is said to lie outside the file")
        self._file.seek(place)
        head = self._file.read(LENGTH.size)
        size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
        record = unframed(head + self._file.read(min(size, MAX_RECORD_BYTES) + LENGTH.size))
        if record is None:
            raise DamagedTokensError("a record is cut short")
        return record


class TokenPipe:
    """Tokens that come from a pipe, with the names of `TokenFile`; it waits for the first of them.

    Attributes:
        hello: what its records rely on.
        samples: None: a pipe's length is not known.

    Raises:
        TokensError: it is no stream of tokens.
    """

    samples: int | None = None

    def __init__(self, file: BinaryIO) -> None:
        reader = TokenReader()
        self._records = read_tokens(file, reader)
        self._first = next(self._records, None)
        assert reader.hello is not None  # else reading would have raised
        self.hello = reader.hello

    def records(self) -> Iterator[TokensRecord]:
        """All of them, once. Raises DamagedTokensError as `read_tokens`."""
        if self._first is not None:
            yield self._first
        yield from self._records

    def sound(
        self, codec: Codec, start_s: float = 0.0, duration_s: float | None = None
    ) -> Iterator[np.ndarray]:
        """As `TokenFile.sound`, while it comes."""
        self.hello.check(codec)
        return sound((record.tokens for record in self.records()), codec, start_s, duration_s)


def sound(
    pieces: Iterable[Tokens], codec: Codec, start_s: float = 0.0, duration_s: float | None = None
) -> Iterator[np.ndarray]:
    """What tokens sound like from a moment on: the samples that decoding the whole gives there.

    Args:
        pieces: one behind the other, from any frame on; those that are not needed are passed over.
        codec: theirs.
        start_s: on the stream's clock.
        duration_s: how much; None: all that there is.

    Raises:
        TokensError: tokens of another codec.
        DamagedTokensError: as `pieces` raises it, after the sound of all that came before.
        SilentCodecError: the codec makes no sound.
    """
    start = round(start_s * codec.sample_rate)
    end = sys.maxsize if duration_s is None else start + round(duration_s * codec.sample_rate)
    for place, samples in _decoded(pieces, codec, start):
        yield samples[max(0, start - place) : max(0, end - place)]
        if place + len(samples) >= end:
            return


def _decoded(pieces: Iterable[Tokens], codec: Codec, start: int) -> Iterator[tuple[int, np.ndarray]]:
    """Samples, each time with the place of the first on the stream's clock, some of them before `start`."""
    decoder = decoder_stream(codec)
    place: int | None = None
    damage: DamagedTokensError | None = None
    try:
        for piece in pieces:
            if place is None:
                piece = _from_frame(piece, start // piece.frame_samples - codec.preroll)
                if not piece.frames:
                    continue
                place = piece.first_frame * piece.frame_samples
            samples = decoder.push(piece)
            yield place, samples
            place += len(samples)
    except DamagedTokensError as error:
        damage = error
    yield place or 0, decoder.flush()
    if damage is not None:
        raise damage


def _from_frame(tokens: Tokens, frame: int) -> Tokens:
    """Without the frames before this one."""
    drop = min(max(0, frame - tokens.first_frame), tokens.frames)
    samples = max(0, tokens.samples - drop * tokens.frame_samples)
    return replace(tokens, first_frame=tokens.first_frame + drop, samples=samples, codes=tokens.codes[drop:])
