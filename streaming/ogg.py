"""The Ogg container (RFC 3533) as bytes in, packets out: no file, no seeking, no thread that waits for a page.

FFmpeg's own reader wants a file to pull from, which would need a thread per stream; a page is simple enough.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from voicewire.streaming.errors import DecodingError

_HEADER = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST, _LAST = 1, 2, 4

# A packet may span pages without end; Opus needs at most 120 ms, its tags may hold a cover picture.
MAX_PACKET_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        packets: those that end on this page, in order.
        granule: the codec's own count at the end of the last of them, -1 where none ends here.
        first, last: whether the page begins or ends its logical stream.
    """

    packets: tuple[bytes, ...]
    granule: int
    first: bool
    last: bool


class OggReader:
    """Reads one logical stream after another (chained streams), never two at a time (multiplexed ones)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._partial: bytearray | None = None
        self._serial: int | None = None
        self._sequence = 0

    def push(self, data: bytes) -> Iterator[Page]:
        """Takes bytes in at once and gives the pages that they complete. Raises DecodingError."""
        self._buffer += data
        return self._pages()

    def _pages(self) -> Iterator[Page]:
        while (size := self._page_bytes()) is not None:
            raw = bytes(self._buffer[:size])
            del self._buffer[:size]
            yield self._page(raw)

    def _page_bytes(self) -> int | None:
        """Bytes of the page that the buffer begins with; None where it is not complete."""
        buffer = self._buffer
        if not b"OggS".startswith(buffer[:4]):
            raise DecodingError(
                "an Ogg page begins with OggS, which is not what came: send an Ogg stream from its beginning, "
                "without gaps"
            )
        if len(buffer) < _HEADER.size or len(buffer) < _HEADER.size + buffer[26]:
            return None
        size = _HEADER.size + buffer[26] + sum(buffer[27 : 27 + buffer[26]])
        return size if len(buffer) >= size else None

    def _page(self, raw: bytes) -> Page:
        _, version, flags, granule, serial, sequence, checksum, segments = _HEADER.unpack_from(raw)
        if version != 0:
            raise DecodingError(f"Ogg version {version} is unknown: send version 0")
        if page_checksum(raw[:22] + bytes(4) + raw[26:]) != checksum:
            raise DecodingError("an Ogg page's checksum is wrong: the stream was damaged on its way")
        self._follow(flags, serial, sequence)
        packets = tuple(
            self._packets(raw[27 : 27 + segments], raw[27 + segments :], bool(flags & _CONTINUED))
        )
        if flags & _LAST:
            self._serial = None
        return Page(packets, granule, bool(flags & _FIRST), bool(flags & _LAST))

    def _follow(self, flags: int, serial: int, sequence: int) -> None:
        """Keeps to one logical stream; a missing page costs the packet that it cuts, as in a relayed broadcast."""
        if flags & _FIRST:
            if self._serial is not None:
                raise DecodingError("several Ogg streams at once: send one audio stream alone")
            self._serial = serial
            self._partial = None
        elif serial != self._serial:
            raise DecodingError(
                "an Ogg page of a stream that never began: send an Ogg stream from its beginning"
            )
        elif sequence != (self._sequence + 1) & 0xFFFF_FFFF:
            self._partial = None
        self._sequence = sequence

    def _packets(self, lacing: bytes, body: bytes, continued: bool) -> Iterator[bytes]:
        if not continued:
            self._partial = None
        # The rest of a packet whose beginning never came is thrown away.
        broken = continued and self._partial is None
        start = end = 0
        for length in lacing:
            end += length
            if length < 255:
                whole = bytes(self._partial or b"") + body[start:end]
                self._partial = None
                start = end
                if not broken:
                    yield whole
                broken = False
        if lacing and lacing[-1] == 255 and not broken:
            self._partial = bytearray(self._partial or b"") + body[start:end]
            if len(self._partial) > MAX_PACKET_BYTES:
                raise DecodingError(
                    f"an Ogg packet of more than {MAX_PACKET_BYTES} bytes: no audio needs that"
                )


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page_checksum(page: bytes) -> int:
    """Ogg's CRC-32 of a page whose own checksum bytes are zero.

    It has zlib's polynomial but begins at zero, inverts nothing and takes bits from the other end, so zlib
    computes it on mirrored bytes.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
