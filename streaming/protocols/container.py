"""What a stream of audio is, from its first bytes: Ogg, FLAC and WAV say it themselves."""

import struct
from dataclasses import dataclass

from voicewire.streaming.errors import DecodingError
from voicewire.streaming.messages import Encoding

# A header of WAV may have other chunks in it; pictures and the like come after the sound, if at all.
_LONGEST_HEADER = 64 * 1024
_WAV_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (1, 16): "pcm_s16le",
    (3, 32): "pcm_f32le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
# "Look into the extension": the same numbers again, at the beginning of a longer code.
_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True, slots=True)
class Content:
    """What a stream holds.

    Attributes:
        encoding, rate, channels: as in `start`.
        rest: the audio that came with the header; of Ogg and FLAC the header is part of it.
    """

    encoding: Encoding
    rate: int
    channels: int
    rest: bytes


class ContainerReader:
    """Gathers bytes until they say what follows."""

    def __init__(self) -> None:
        self._buffer = b""

    def push(self, data: bytes) -> Content | None:
        """None where more bytes are needed. Raises DecodingError for anything that cannot be read as a stream."""
        self._buffer += data
        if len(self._buffer) < 4:
            return None
        match self._buffer[:4]:
            case b"OggS":
                return Content("ogg_opus", 48_000, 1, self._buffer)
            case b"fLaC":
                return Content("flac", 48_000, 1, self._buffer)
            case b"RIFF":
                return self._wav()
            case b"\x1aE\xdf\xa3":
                raise DecodingError(
                    "WebM cannot be read as a stream: record Ogg Opus (audio/ogg;codecs=opus), or name an encoding"
                )
        raise DecodingError(
            "audio without a header that is known (Ogg, FLAC, WAV): name its encoding and sample_rate"
        )

    def _wav(self) -> Content | None:
        """Walks the chunks up to the one with the samples."""
        found: tuple[Encoding, int, int] | None = None
        position = 12
        while position + 8 <= len(self._buffer):
            kind, size = struct.unpack_from("<4sI", self._buffer, position)
            position += 8
            if kind == b"data":
                if found is None:
                    raise DecodingError("a WAV header without a format: send the file from its beginning")
                return Content(*found, self._buffer[position:])
            if kind == b"fmt " and position + size <= len(self._buffer):
                found = _wav_format(self._buffer[position : position + size])
            position += size + size % 2
        if len(self._buffer) > _LONGEST_HEADER:
            raise DecodingError(f"a WAV header of more than {_LONGEST_HEADER} bytes: send another encoding")
        return None


def _wav_format(chunk: bytes) -> tuple[Encoding, int, int]:
    if len(chunk) < 16:
        raise DecodingError("a WAV header whose format is too short: send another encoding")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if code == _EXTENSIBLE and len(chunk) >= 26:
        (code,) = struct.unpack_from("<H", chunk, 24)
    encoding = _WAV_ENCODINGS.get((code, bits))
    if encoding is None or channels not in (1, 2) or not 8_000 <= rate <= 48_000:
        raise DecodingError(
            f"WAV of format {code}, {bits} bits, {rate} Hz, {channels} channels: send 16-bit PCM, mono or stereo, "
            "8000 to 48000 Hz"
        )
    return encoding, rate, channels
