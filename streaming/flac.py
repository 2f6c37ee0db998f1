"""FLAC (RFC 9639) as bytes in, samples out.

A FLAC frame does not say how long it is, and FFmpeg's parser waits for ten more frames to be sure, which takes
seconds. Here a frame ends at the first byte where its checksum is right and FFmpeg can decode it whole: a wrong
guess would need both a 16-bit coincidence and a truncated frame that decodes, and there is no delay.
"""

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt

from voicewire.streaming.errors import DecodingError

_MARKER = b"fLaC"
_STREAMINFO_BYTES = 34
_SMALLEST_FRAME = 10

# Wrong guesses allowed in one frame; a sound frame of half a megabyte has eight on average, a hostile one could
# make every byte a guess.
_MOST_GUESSES = 64


class FlacDecoder:
    """A FLAC stream from its beginning."""

    def __init__(self) -> None:
        self.rate: int | None = None
        self._buffer = bytearray()
        self._metadata_left = 0
        self._last_metadata = False
        self._codec: av.AudioCodecContext | None = None
        self._largest_frame = 0
        # Of the frame that the buffer begins with: bytes looked at, their checksum, guesses at its end.
        self._checked = self._checksum = self._guesses = 0

    def push(self, data: bytes) -> Iterator[npt.NDArray[np.float32]]:
        self._buffer += data
        return self._samples()

    def _samples(self) -> Iterator[npt.NDArray[np.float32]]:
        if not self._header_done():
            return
        while (end := self._next_guess()) is not None:
            samples = self._decode(bytes(self._buffer[:end]))
            if samples is not None:
                del self._buffer[:end]
                self._checked = self._checksum = self._guesses = 0
                yield samples

    def _header_done(self) -> bool:
        """Takes the marker and the metadata off the buffer, as far as they have come."""
        if self._codec is None:
            if not _MARKER.startswith(self._buffer[:4]):
                raise DecodingError(
                    "a FLAC stream begins with fLaC, which is not what came: send it from its start"
                )
            if len(self._buffer) < 4 + 4 + _STREAMINFO_BYTES:
                return False
            del self._buffer[:4]
            self._read_streaminfo()
        while not self._last_metadata or self._metadata_left:
            if not self._metadata_left:
                if len(self._buffer) < 4:
                    return False
                self._begin_block()
            skipped = min(self._metadata_left, len(self._buffer))
            del self._buffer[:skipped]
            self._metadata_left -= skipped
            if self._metadata_left:
                return False
        return True

    def _begin_block(self) -> None:
        self._last_metadata = bool(self._buffer[0] & 0x80)
        self._metadata_left = int.from_bytes(self._buffer[1:4], "big")
        del self._buffer[:4]

    def _read_streaminfo(self) -> None:
        kind = self._buffer[0] & 0x7F
        self._begin_block()
        if kind != 0 or self._metadata_left != _STREAMINFO_BYTES:
            raise DecodingError("a FLAC stream's first block must be STREAMINFO: send it from its start")
        info = bytes(self._buffer[:_STREAMINFO_BYTES])
        packed = int.from_bytes(info[10:18], "big")
        rate, channels, bits = packed >> 44, (packed >> 41 & 0x07) + 1, (packed >> 36 & 0x1F) + 1
        if not 8_000 <= rate <= 48_000 or channels > 2:
            raise DecodingError(
                f"FLAC of {rate} Hz and {channels} channels: send 8000 to 48000 Hz, mono or stereo"
            )
        largest_block = int.from_bytes(info[2:4], "big")
        # A frame is never larger than its samples written out (a side channel has one bit more) and its headers.
        self._largest_frame = largest_block * channels * (bits + 1) // 8 + 64
        self.rate = rate
        self._codec = av.AudioCodecContext.create("flac", "r")
        self._codec.extradata = info

    def _next_guess(self) -> int | None:
        """Where the frame at the buffer's beginning may end; None where more bytes are needed.

        Raises DecodingError where it can no longer be a frame.
        """
        checksum, table = self._checksum, _TABLE
        for index in range(self._checked, len(self._buffer)):
            checksum = (checksum << 8 & 0xFFFF) ^ table[checksum >> 8 ^ self._buffer[index]]
            if checksum == 0 and index + 1 >= _SMALLEST_FRAME:
                self._checksum, self._checked = checksum, index + 1
                self._guesses += 1
                if self._guesses > _MOST_GUESSES:
                    raise DecodingError(_BROKEN)
                return index + 1
        self._checksum, self._checked = checksum, len(self._buffer)
        if self._checked > self._largest_frame or (self._checked >= 2 and not self._begins_a_frame()):
            raise DecodingError(_BROKEN)
        return None

    def _begins_a_frame(self) -> bool:
        return self._buffer[0] == 0xFF and self._buffer[1] & 0xFE == 0xF8

    def _decode(self, frame: bytes) -> npt.NDArray[np.float32] | None:
        """Mono samples of a whole frame; None where it is not whole."""
        assert self._codec is not None
        try:
            frames = self._codec.decode(av.Packet(frame))
        except av.FFmpegError:
            return None
        if len(frames) != 1:
            return None
        if frames[0].sample_rate != self.rate:
            raise DecodingError("the FLAC stream changes its sample rate: send one rate throughout")
        interleaved = frames[0].to_ndarray()
        scale = np.float32(1 / 2**15 if interleaved.dtype == np.int16 else 1 / 2**31)
        channels = interleaved.reshape(-1, len(frames[0].layout.channels))
        mono: npt.NDArray[np.float32] = channels.mean(axis=1, dtype=np.float32) * scale
        return mono


_BROKEN = "a FLAC frame is damaged or missing: send the stream from its beginning, without gaps"


def _checksum_table() -> list[int]:
    """CRC-16 with the polynomial 0x8005, not reflected, from zero (RFC 9639, 9.3)."""
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
        table.append(value)
    return table


_TABLE = _checksum_table()
