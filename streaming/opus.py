"""Opus (RFC 6716) as raw packets and inside Ogg (RFC 7845), decoded packet by packet through FFmpeg."""

import struct
from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt

from voicewire.streaming.errors import DecodingError
from voicewire.streaming.ogg import OggReader, Page

# Opus always decodes at this rate, whatever it was made from.
OPUS_RATE = 48_000

# RFC 6716, 3.2.1 and 3.4: at most 48 frames of 1275 bytes, with their lengths.
MAX_PACKET_BYTES = 48 * 1277 + 2

_HEAD = struct.Struct("<8sBBHIhB")


class OpusDecoder:
    """One packet per push."""

    rate = OPUS_RATE

    def __init__(self) -> None:
        # FFmpeg's own decoder, which every build has. One channel: it averages stereo itself.
        self._codec = av.AudioCodecContext.create("opus", "r")
        self._codec.sample_rate = OPUS_RATE
        self._codec.layout = "mono"

    def push(self, data: bytes) -> Iterator[npt.NDArray[np.float32]]:
        # An empty packet would tell FFmpeg that the stream is over.
        return iter((self.decode(data),)) if data else iter(())

    def decode(self, packet: bytes) -> npt.NDArray[np.float32]:
        """The samples of one packet, 2.5 to 120 ms. Raises DecodingError."""
        if len(packet) > MAX_PACKET_BYTES:
            raise DecodingError(
                f"an Opus packet of {len(packet)} bytes: send one packet per message, "
                f"at most {MAX_PACKET_BYTES} bytes"
            )
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.FFmpegError as error:
            raise DecodingError(
                "this is no Opus packet: send each packet as one message, without a container (or ogg_opus)"
            ) from error
        pieces = [frame.to_ndarray().reshape(-1) for frame in frames]
        samples = np.concatenate(pieces) if pieces else np.empty(0, np.float32)
        # Damaged packets may decode to anything.
        return np.clip(np.nan_to_num(samples), -1.0, 1.0).astype(np.float32, copy=False)


class OggOpusDecoder:
    """An Ogg stream of Opus packets, as a file holds it or as a recorder sends it."""

    rate = OPUS_RATE

    def __init__(self) -> None:
        self._reader = OggReader()
        self._decoder: OpusDecoder | None = None
        self._gain = np.float32(1)
        self._skip = 0
        self._tags_due = False
        self._granule = 0

    def push(self, data: bytes) -> Iterator[npt.NDArray[np.float32]]:
        pages = self._reader.push(data)
        return (samples for page in pages for samples in self._decode(page))

    def _decode(self, page: Page) -> Iterator[npt.NDArray[np.float32]]:
        packets = list(page.packets)
        if page.first:
            self._begin(packets)
            return
        if self._tags_due and packets:
            self._expect_tags(packets.pop(0))
        # The last page's granule says where the sound ends, which may be within its last packet (RFC 7845, 4.4).
        left = page.granule - self._granule if page.last else None
        for packet in packets:
            if self._decoder is None:
                raise DecodingError("Ogg audio before its header: send the stream from its beginning")
            if not packet:
                continue
            samples = self._decoder.decode(packet) * self._gain
            if left is not None:
                samples = samples[: max(left, 0)]
                left -= len(samples)
            skipped = min(self._skip, len(samples))
            self._skip -= skipped
            if len(samples) > skipped:
                yield samples[skipped:]
        if page.granule >= 0:
            self._granule = page.granule

    def _begin(self, packets: list[bytes]) -> None:
        """Reads the identification header (RFC 7845, 5.1)."""
        head = packets[0] if packets else b""
        if not head.startswith(b"OpusHead") or len(head) < _HEAD.size:
            raise DecodingError(
                "this Ogg stream holds no Opus: send Ogg Opus, or another encoding in `start`"
            )
        _, version, channels, skip, _, gain, family = _HEAD.unpack_from(head)
        if version >> 4 != 0:
            raise DecodingError(f"Opus header version {version} is unknown: send version 1")
        if family > 1 or channels not in (1, 2):
            raise DecodingError(f"{channels} channels in mapping family {family}: send mono or stereo")
        self._decoder = OpusDecoder()
        self._gain = np.float32(10 ** (gain / (20 * 256)))
        self._skip = skip
        self._tags_due = True
        self._granule = 0

    def _expect_tags(self, packet: bytes) -> None:
        if not packet.startswith(b"OpusTags"):
            raise DecodingError(
                "an Opus stream's second packet must be its tags: send the stream from its beginning"
            )
        self._tags_due = False
