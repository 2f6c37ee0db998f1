"""A session's visit to the codecs' desk: the lanes that it has there, and where what comes out of them goes."""

from collections.abc import Mapping

from voicewire.codecs.codec import Codec
from voicewire.codecs.tokens import Tokens
from voicewire.codecs.words import WordCodec, WordReader
from voicewire.streaming.codec_lanes import DecoderLane, EncoderLane, Marker
from voicewire.streaming.commands import OpenStream, PushAudio, PushFeatures, PushTokens
from voicewire.streaming.seat import Seat


class Benches:
    """Room for every session with every codec, in both directions where it has both."""

    def __init__(self, codecs: Mapping[str, Codec], slots: int) -> None:
        self.codecs = codecs
        self.slots = slots
        self.encoders = {name: codec.encoders(slots) for name, codec in codecs.items()}
        self.decoders = {name: codec.decoders(slots) for name, codec in codecs.items() if codec.sounds}
        self.of_words = {name: codec for name, codec in codecs.items() if isinstance(codec, WordCodec)}


class Visit:
    """One session at the desk.

    Args:
        benches: where its lanes are to be.
        seat: whose session it is.
        wanted: what the session asked for.

    Raises:
        CodecError: no slot is free.
    """

    def __init__(self, benches: Benches, seat: Seat, wanted: OpenStream) -> None:
        self.encoder: EncoderLane | None = None
        self.decoder: DecoderLane | None = None
        self._reader: WordReader | None = None
        self._benches = benches
        self._seat = seat
        self._recognises = wanted.takes_tokens and wanted.settings is not None
        if wanted.tokens is not None:
            name = wanted.tokens.codec
            rate = benches.codecs[name].sample_rate
            self.encoder = EncoderLane(benches.encoders[name], rate, wanted.tokens)

    def take(self, command: PushAudio | PushTokens | Marker) -> None:
        """What came of the session.

        Raises:
            TokensError: tokens of words are not the stream's next ones.
            CodecError: no slot is free for tokens.
        """
        if isinstance(command, PushTokens):
            if command.tokens.codec in self._benches.of_words:
                self._read(command.tokens)
            else:
                self._decode(command.tokens)
        elif self.decoder is not None and not isinstance(command, PushAudio):
            self.decoder.put(command)
        else:
            self.hear(command)

    def _decode(self, tokens: Tokens) -> None:
        """Has them made sound again."""
        if self.decoder is None:
            batch = self._benches.decoders[tokens.codec]
            self.decoder = DecoderLane(batch, tokens.sample_rate, self.hear)
        self.decoder.put(tokens)

    def _read(self, tokens: Tokens) -> None:
        """Hands on what they say of the words, at once: it is little work, and there is nothing to wait for."""
        if self._reader is None:
            self._reader = self._benches.of_words[tokens.codec].reader()
        self._seat.recogniser.submit(self._seat, PushFeatures(self._reader.push(tokens)))

    def hear(self, command: PushAudio | Marker) -> None:
        """Sound, and what is said of it, on its way to all that listen."""
        if self._recognises:
            self._seat.recogniser.submit(self._seat, command)
        if self.encoder is not None:
            self.encoder.put(command.samples if isinstance(command, PushAudio) else command)

    def close(self) -> None:
        """Gives its slots back."""
        for lane in (self.decoder, self.encoder):
            if lane is not None:
                lane.close()
