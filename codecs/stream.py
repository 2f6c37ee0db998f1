"""One stream of a codec: a batch of one, for whoever has no others."""

from typing import Generic

import numpy as np

from voicewire.codecs.codec import Codec, CodecBatch, Given, Made
from voicewire.codecs.tokens import Tokens


class CodecStream(Generic[Given, Made]):
    """One stream in one direction, audio to tokens or tokens to audio.

    Args:
        batch: with a free slot, which the stream takes.
        codebooks: codes per frame that an encoder is to make; None: all that the codec has.
    """

    def __init__(self, batch: CodecBatch[Given, Made], codebooks: int | None = None) -> None:
        self._batch = batch
        self._slot = batch.open(codebooks)

    def use(self, codebooks: int) -> None:
        """From the next frame on an encoder makes this many codes per frame: another bitrate."""
        self._batch.use(self._slot, codebooks)

    def push(self, piece: Given) -> Made:
        """Takes the next piece; gives what became certain by it. Raises TokensError as `CodecBatch.push`."""
        return self._batch.push({self._slot: piece})[self._slot]

    def flush(self) -> Made:
        """The end of the stream: gives what is left. The next `push` begins a new stream at frame 0."""
        return self._batch.flush([self._slot])[self._slot]

    def snapshot(self) -> bytes:
        """The whole state, never pickled: a stream restored from it goes on bit for bit as this one would."""
        return self._batch.snapshot(self._slot)

    def restore(self, data: bytes) -> None:
        """Raises CodecStateError where `data` is no snapshot of this codec, direction and version."""
        self._batch.restore(self._slot, data)


def encoder_stream(codec: Codec, codebooks: int | None = None) -> CodecStream[np.ndarray, Tokens]:
    """A new stream from audio to tokens."""
    return CodecStream(codec.encoders(1), codebooks)


def decoder_stream(codec: Codec) -> CodecStream[Tokens, np.ndarray]:
    """A new stream from tokens to audio. Raises SilentCodecError where the codec makes no sound."""
    return CodecStream(codec.decoders(1))
