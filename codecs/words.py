"""Codecs of words: what they take from the recogniser, whose encoder listens for them, and what they give it.

The codecs know nothing else of the recogniser than is said here.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from voicewire.codecs.codec import Codec
from voicewire.codecs.tokens import Tokens

Samples = NDArray[np.float32]


class FeatureStreams(Protocol):
    """Streams of a causal encoder in slots; voicewire.asr.features has the one that is used."""

    def open(self) -> int:
        """Gives the slot of a new stream."""

    def close(self, slot: int) -> None:
        """Forgets a stream."""

    def push(self, slot: int, samples: Samples) -> Samples:
        """Gives the features that became certain, whole blocks, shape = (60 blocks, width)."""

    def flush(self, slot: int) -> Samples:
        """Gives the last ones, silence laid behind the audio until they are whole blocks, and begins anew."""

    def snapshot(self, slot: int) -> bytes:
        """The stream's state."""

    def restore(self, slot: int, data: bytes) -> None:
        """Goes on from it."""


class FeatureSource(Protocol):
    """A loaded encoder."""

    @property
    def model_sha256(self) -> str:
        """Of its weights."""

    @property
    def adapter_sha256(self) -> str:
        """Of what was merged into them."""

    def streams(self, slots: int) -> FeatureStreams:
        """Room for so many streams."""


class Transcriber(Protocol):
    """A recogniser, as voicewire.asr.BatchTranscriber is one."""

    @property
    def feature_source(self) -> FeatureSource:
        """Its encoder."""


class Heard(NamedTuple):
    """What the recogniser is given in the place of audio (BatchTranscriber.push_features).

    Attributes:
        features: float32, shape = (frames of 20 ms, width).
        voice: how likely somebody speaks in each, shape = (frames of 20 ms,).
    """

    features: Samples
    voice: Samples


class WordReader(Protocol):
    """One stream of tokens on its way to the recogniser."""

    def push(self, tokens: Tokens) -> Heard:
        """The next tokens of the stream, with any number of codebooks.

        Raises:
            TokensError: tokens of another codec, or not the stream's next ones. The stream has not moved then.
        """


@runtime_checkable
class WordCodec(Codec, Protocol):
    """A codec whose tokens the recogniser reads instead of audio."""

    def reader(self) -> WordReader:
        """A new stream, from frame 0 on."""
