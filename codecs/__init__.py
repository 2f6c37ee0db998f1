"""voicewire.codecs: audio to discrete tokens and back, as a stream."""

from voicewire.codecs.bitrate import codebooks_at, kbps, rates
from voicewire.codecs.codec import Codec, CodecBatch
from voicewire.codecs.errors import (
    BitrateError,
    CodecError,
    CodecStateError,
    CodecWeightsError,
    SilentCodecError,
    TokensError,
    UnknownCodecError,
)
from voicewire.codecs.registry import available, load
from voicewire.codecs.stream import CodecStream, decoder_stream, encoder_stream
from voicewire.codecs.tokens import Tokens

__all__ = [
    "BitrateError",
    "Codec",
    "CodecBatch",
    "CodecError",
    "CodecStateError",
    "CodecStream",
    "CodecWeightsError",
    "SilentCodecError",
    "Tokens",
    "TokensError",
    "UnknownCodecError",
    "available",
    "codebooks_at",
    "decoder_stream",
    "encoder_stream",
    "kbps",
    "load",
    "rates",
]
