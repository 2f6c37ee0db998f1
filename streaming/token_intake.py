"""A session's tokens on their way in: records as they come, checked against the codec that is to read them."""

from collections.abc import Iterator, Mapping

import numpy as np

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import TokensError
from voicewire.codecs.record_stream import RecordReader, records_of
from voicewire.codecs.records import Hello
from voicewire.codecs.tokens import Tokens
from voicewire.streaming.codec_shelf import unavailable
from voicewire.streaming.decoding import Samples
from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import ErrorCode

_NOTHING = np.empty(0, np.float32)


class TokenIntake:
    """Reader of one session's token records; each message is one.

    Args:
        codecs: those that are loaded.
        sound_wanted: whether tokens without sound would not do.

    Attributes:
        received_samples: samples that the tokens so far stand for, at the codec's rate.
    """

    def __init__(self, codecs: Mapping[str, Codec], *, sound_wanted: bool = False) -> None:
        self.received_samples = 0
        self._sound_wanted = sound_wanted
        self._codecs = codecs
        self._reader = RecordReader()

    @property
    def received_s(self) -> float:
        """Seconds of audio that the tokens so far stand for."""
        hello = self._reader.hello
        return self.received_samples / hello.sample_rate if hello else 0.0

    def push(self, data: bytes) -> Iterator[Tokens]:
        """Gives tokens of at most a second, piece by piece, so that whoever takes them can stop.

        Raises SessionError for what is no record of the stream, and for a codec that is not there.
        """
        greeted = self._reader.hello is not None
        try:
            record = self._reader.take(data)
            if not greeted and self._reader.hello is not None:
                self._check(self._reader.hello)
        except TokensError as error:
            raise SessionError(ErrorCode.BAD_TOKENS, str(error)) from error
        if record is not None:
            tokens = record.tokens
            for piece in records_of(tokens, record.fresh, most=max(1, int(tokens.frame_rate))):
                self.received_samples += piece.tokens.samples
                yield piece.tokens

    def flush(self) -> Samples:
        """Nothing is held back here."""
        return _NOTHING

    def _check(self, hello: Hello) -> None:
        """Raises SessionError where the codec is not there, TokensError where the hello says what it is not."""
        codec = self._codecs.get(hello.codec)
        if codec is None:
            raise unavailable(hello.codec, self._codecs)
        try:
            hello.check(codec)
        except TokensError as error:
            if hello.weights_sha256 != codec.weights_sha256:
                raise SessionError(ErrorCode.CODEC_UNAVAILABLE, str(error)) from error
            raise
        if self._sound_wanted and not codec.sounds:
            raise SessionError(
                ErrorCode.UNSUPPORTED_SETTING,
                f"outputs: there is no sound in tokens of {codec.name} to make tokens of, words alone",
            )
