"""What a codec is: whole recordings at once, or the same thing piece by piece, for one stream or for many.

A codec is exact as a stream: any cutting of the input, alone or in a batch with any others, gives, joined, what
the whole gives at once.
"""

from collections.abc import Collection, Mapping
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from voicewire.codecs.tokens import Tokens, joined

Given = TypeVar("Given", contravariant=True)
Made = TypeVar("Made")


@runtime_checkable
class CodecBatch(Protocol[Given, Made]):
    """Streams of one direction in slots, advanced together: audio to tokens, or tokens to audio.

    Audio is mono float32 of shape (samples,) at the codec's rate, in pieces of any length, also 0. Tokens are
    codes of shape (frames, codebooks), possibly of no frame. A slot that takes no part in a call stays bit for
    bit as it was.
    """

    @property
    def free(self) -> int:
        """How many more streams can be opened."""

    def open(self, codebooks: int | None = None) -> int:
        """Takes a free slot for a new stream and gives its number.

        Args:
            codebooks: codes per frame that an encoder is to make; None: all that the codec has.

        Raises:
            CodecError: no slot is free, or the codec has no such number of codebooks.
        """

    def close(self, slot: int) -> None:
        """Gives the slot back."""

    def use(self, slot: int, codebooks: int) -> None:
        """From the next frame on an encoder makes this many codes per frame: another bitrate."""

    def push(self, pieces: Mapping[int, Given]) -> dict[int, Made]:
        """Takes the next piece of each of these streams; gives, for each, what became certain by it.

        Raises:
            TokensError: tokens of another codec, or whose `first_frame` is not the stream's next frame. The
                first piece of a stream may begin at any frame, and the number of codebooks may change from
                piece to piece. No stream of the call has moved then.
        """

    def flush(self, slots: Collection[int]) -> dict[int, Made]:
        """The end of these streams: gives what is left. The next `push` begins a new stream at frame 0.

        An encoder pads the last frame and says in `Tokens.samples` what is real; a decoder has then given as
        many samples as that.
        """

    def snapshot(self, slot: int) -> bytes:
        """The stream's whole state, never pickled: a stream restored from it, in any slot of any batch of this
        codec, goes on bit for bit as this one would."""

    def restore(self, slot: int, data: bytes) -> None:
        """Raises CodecStateError where `data` is no snapshot of this codec, direction and version."""


@runtime_checkable
class Codec(Protocol):
    """One codec with its weights, shared by all its streams."""

    @property
    def name(self) -> str:
        """The name that `load` takes and `Tokens.codec` carries."""

    @property
    def weights_sha256(self) -> str:
        """Which weights made the tokens, as 64 hexadecimal digits: others could not read them."""

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
    def choices(self) -> tuple[int, ...]:
        """The numbers of codebooks that it offers as bitrates, fewest first."""

    @property
    def bits(self) -> int:
        """Bits per code."""

    @property
    def preroll(self) -> int:
        """Frames that a decoder must hear before a frame in mid-stream sounds as it does from the beginning."""

    @property
    def sounds(self) -> bool:
        """Whether its tokens can become audio again; where not, they hold words alone."""

    def encode(self, samples: np.ndarray, codebooks: int | None = None) -> Tokens:
        """A whole recording, mono float32 of shape (samples,), as codes of shape (frames, codebooks)."""

    def decode(self, tokens: Tokens) -> np.ndarray:
        """Mono float32 of shape (tokens.samples,).

        Raises:
            TokensError: tokens of another codec.
            SilentCodecError: the codec makes no sound.
        """

    def encoders(self, slots: int) -> CodecBatch[np.ndarray, Tokens]:
        """Room for so many streams from audio to tokens."""

    def decoders(self, slots: int) -> CodecBatch[Tokens, np.ndarray]:
        """Room for so many streams from tokens to audio. Raises SilentCodecError as `decode` does."""


def encode_whole(codec: Codec, samples: np.ndarray, codebooks: int | None) -> Tokens:
    """What `Codec.encode` gives, where a stream of its own does the work."""
    batch = codec.encoders(1)
    slot = batch.open(codebooks)
    return joined([batch.push({slot: samples})[slot], batch.flush([slot])[slot]])
