"""Audio as discrete tokens: what a codec makes and what it turns back into sound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from voicewire.codecs.errors import TokensError


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A stretch of a stream, as codes.

    Attributes:
        codec: the codec's name, as `load` takes it.
        sample_rate: samples per second of the audio that the codes stand for.
        frame_rate: frames per second; one frame is `sample_rate / frame_rate` samples, a whole number.
        codebooks: codes per frame, coarse first; fewer than the codec has is a lower bitrate.
        bits: bits per code, so that each code is below 2 ** bits.
        first_frame: place of the first frame in the stream, counted from 0.
        samples: exact number of samples that these frames stand for. Less than the frames could hold only in
            the last piece of a stream, whose last frame is padded.
        codes: integers of shape (frames, codebooks).

    Raises:
        TokensError: the fields contradict each other.
    """

    codec: str
    sample_rate: int
    frame_rate: float
    codebooks: int
    bits: int
    first_frame: int
    samples: int
    codes: np.ndarray

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.shape[1] != self.codebooks:
            raise TokensError(f"codes must have shape (frames, {self.codebooks}), not {self.codes.shape}")
        if not np.issubdtype(self.codes.dtype, np.integer):
            raise TokensError(f"codes must be integers, not {self.codes.dtype}")
        if self.codes.size and not 0 <= int(self.codes.min()) <= int(self.codes.max()) < 2**self.bits:
            raise TokensError(f"codes of {self.bits} bits must be 0 to {2**self.bits - 1}")
        if self.first_frame < 0:
            raise TokensError(f"first_frame must not be negative, but is {self.first_frame}")
        if self.sample_rate % self.frame_rate:
            raise TokensError(
                f"{self.frame_rate} frames a second do not divide {self.sample_rate} samples a second"
            )
        most = self.frames * self.frame_samples
        if not max(0, most - self.frame_samples + 1) <= self.samples <= most:
            raise TokensError(
                f"{self.frames} frames stand for at most {most} samples, and not for {self.samples}"
            )

    @property
    def frames(self) -> int:
        return int(self.codes.shape[0])

    @property
    def frame_samples(self) -> int:
        """Samples per frame."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def start_s(self) -> float:
        """Where the first frame lies on the stream's clock, in seconds."""
        return self.first_frame / self.frame_rate

    @property
    def duration_s(self) -> float:
        return self.samples / self.sample_rate

    @property
    def bits_per_second(self) -> float:
        """The bitrate of the bare codes."""
        return self.frame_rate * self.codebooks * self.bits


def joined(pieces: Sequence[Tokens]) -> Tokens:
    """Stretches of one stream that follow each other, at least one, as one."""
    if len(pieces) == 1:
        return pieces[0]
    samples = sum(piece.samples for piece in pieces)
    return replace(pieces[0], samples=samples, codes=np.concatenate([piece.codes for piece in pieces]))
