"""Bitrates of a codec, in kilobits per second of bare codes."""

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import BitrateError


def kbps(codec: Codec, codebooks: int) -> float:
    """The bitrate with so many codes per frame."""
    return codec.frame_rate * codebooks * codec.bits / 1000


def rates(codec: Codec) -> dict[float, int]:
    """Every bitrate that the codec offers, with its number of codebooks, lowest first."""
    return {kbps(codec, count): count for count in codec.choices}


def codebooks_at(codec: Codec, wanted_kbps: float) -> int:
    """How many codebooks a bitrate is. Raises BitrateError, which names those there are."""
    offered = rates(codec)
    for rate, count in offered.items():
        if abs(rate - wanted_kbps) < 0.01:
            return count
    known = ", ".join(f"{rate:g}" for rate in offered)
    raise BitrateError(f"{codec.name} has no {wanted_kbps:g} kbps; it has {known}")
