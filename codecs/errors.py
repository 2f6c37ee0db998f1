"""The errors of the codecs. Each message says what to do about it."""


class CodecError(Exception):
    """Base of everything that voicewire.codecs raises on purpose."""


class UnknownCodecError(CodecError, LookupError):
    """No codec of that name is registered."""


class TokensError(CodecError, ValueError):
    """Tokens that cannot be: wrong shape, codes out of range, times that do not fit together."""


class DamagedTokensError(TokensError):
    """A stream of tokens was cut short or altered on its way. What was given before this is good."""


class CodecStateError(CodecError, ValueError):
    """A snapshot is damaged, or was taken from another codec or version."""


class BitrateError(CodecError, ValueError):
    """The codec has no such bitrate, or no such number of codebooks."""


class SilentCodecError(CodecError):
    """The codec's tokens hold words, and no sound that they could become again."""


class CodecWeightsError(CodecError):
    """A codec's weights cannot be had, or are not what they should be."""
