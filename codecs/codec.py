"""What a codec is: whole recordings at once, or the same thing piece by piece.

A codec is exact as a stream: any cutting of the input gives, joined, what the whole gives at once.
"""

from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from voicewire.codecs.tokens import Tokens

Given = TypeVar("Given", contravariant=True)
Made = TypeVar("Made", covariant=True)


@runtime_checkable
class CodecStream(Protocol[Given, Made]):
    """One stream in one direction: audio to tokens, or tokens to audio.

    Audio is mono float32 of shape (samples,) at the codec's rate, in pieces of any length, also 0. Tokens are
    codes of shape (frames, codebooks), possibly of no frame.
    """

    def push(self, piece: Given) -> Made:
        """Takes the next piece; gives what became certain by it.

        Raises:
            TokensError: tokens of another codec, or whose `first_frame` is not the next frame. The number of
                codebooks may change from piece to piece.
        """

    def flush(self) -> Made:
        """The end of the stream: gives what is left. The next `push` begins a new stream at frame 0.

        An encoder pads the last frame and says in `Tokens.samples` what is real; a decoder has then given as
        many samples as that.
        """

    def snapshot(self) -> bytes:
        """The whole state, never pickled: a stream restored from it goes on bit for bit as this one would."""

    def restore(self, data: bytes) -> None:
        """Raises CodecStateError where `data` is no snapshot of this codec in this version."""


@runtime_checkable
class Codec(Protocol):
    """One codec with its weights, shared by all its streams."""

    @property
    def name(self) -> str:
        """The name that `load` takes and `Tokens.codec` carries."""

    @property
    def sample_rate(self) -> int:
        """Samples per second."""

    @property
    def frame_rate(self) -> float:
        """Frames per second."""

    @property
    def codebooks(self) -> int:
        """The most codes per frame that it has; a stream may use fewer."""

    @property
    def bits(self) -> int:
        """Bits per code."""

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        """A whole recording, mono float32 of shape (samples,), as codes of shape (frames, codebooks)."""

    def decode(self, tokens: Tokens) -> np.ndarray:
        """Mono float32 of shape (tokens.samples,). Raises TokensError for another codec's tokens."""

    def encoder_stream(self, codebooks: int | None = None) -> CodecStream[np.ndarray, Tokens]:
        """A new stream from audio to tokens."""

    def decoder_stream(self) -> CodecStream[Tokens, np.ndarray]:
        """A new stream from tokens to audio."""
