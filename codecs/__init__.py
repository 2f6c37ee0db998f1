"""voicewire.codecs: audio to discrete tokens and back, as a stream. This release holds the interface alone."""

from voicewire.codecs.codec import Codec, CodecStream
from voicewire.codecs.errors import CodecError, CodecStateError, TokensError, UnknownCodecError
from voicewire.codecs.registry import available, load
from voicewire.codecs.tokens import Tokens

__all__ = [
    "Codec",
    "CodecError",
    "CodecStateError",
    "CodecStream",
    "Tokens",
    "TokensError",
    "UnknownCodecError",
    "available",
    "load",
]
