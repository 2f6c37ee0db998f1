"""voicewire.codecs: audio to discrete tokens and back, as a stream."""

from voicewire.codecs.bitrate import codebooks_at, kbps, rates
from voicewire.codecs.codec import Codec, CodecBatch
from voicewire.codecs.errors import (
    BitrateError,
    CodecError,
    CodecStateError,
    CodecWeightsError,
    DamagedTokensError,
    SilentCodecError,
    TokensError,
    UnknownCodecError,
)
from voicewire.codecs.framing import TokenReader, TokenWriter
from voicewire.codecs.record_stream import RecordReader, RecordWriter
from voicewire.codecs.records import Hello, TokensRecord
from voicewire.codecs.registry import at_hand, available, load
from voicewire.codecs.stream import CodecStream, decoder_stream, encoder_stream
from voicewire.codecs.token_file import TokenFile, TokenPipe, read_tokens, sound
from voicewire.codecs.tokens import Tokens
from voicewire.codecs.words import Heard, WordCodec

__all__ = [
    "BitrateError",
    "Codec",
    "CodecBatch",
    "CodecError",
    "CodecStateError",
    "CodecStream",
    "CodecWeightsError",
    "DamagedTokensError",
    "Heard",
    "Hello",
    "RecordReader",
    "RecordWriter",
    "SilentCodecError",
    "TokenFile",
    "TokenPipe",
    "TokenReader",
    "TokenWriter",
    "Tokens",
    "TokensError",
    "TokensRecord",
    "UnknownCodecError",
    "WordCodec",
    "at_hand",
    "available",
    "codebooks_at",
    "decoder_stream",
    "encoder_stream",
    "kbps",
    "load",
    "rates",
    "read_tokens",
    "sound",
]
