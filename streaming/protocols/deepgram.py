"""Deepgram's live protocol, `/v1/listen`: what its clients send and read, over a native session.

Committed words become final results, the tail becomes interim ones. A final result ends where the next one begins;
`speech_final` is the recogniser's own endpoint.
"""

import hashlib
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from voicewire.streaming.errors import DecodingError, SessionError
from voicewire.streaming.messages import (
    Close,
    Done,
    Encoding,
    EndpointMessage,
    ErrorCode,
    Flush,
    FlushedMessage,
    KeepAlive,
    ServerMessage,
    SpeechStartedMessage,
    Start,
    TranscriptMessage,
)
from voicewire.streaming.messages import Error as NativeError
from voicewire.streaming.protocols import deepgram_messages as dg
from voicewire.streaming.protocols.container import ContainerReader
from voicewire.streaming.protocols.cutting import WholeSamples
from voicewire.streaming.protocols.deepgram_query import ListenOptions
from voicewire.streaming.protocols.facade import Reply, Step
from voicewire.streaming.protocols.spoken import SpokenWord, Words, spoken

# The first channel of one: all that there is.
_CHANNEL = [0, 1]
_QUOTED = 200


class _Control(BaseModel):
    """A client's text message: of all its fields, those that matter here."""

    type: str
    keyterms: list[str] | None = None


class DeepgramLive:
    """One live stream.

    Args:
        options: the query, read.
        model: the name of the model that listens.
        request_id: for the client, and for the log.
        created: when the stream began, as ISO 8601 in UTC.
    """

    def __init__(self, options: ListenOptions, model: str, request_id: str, created: str) -> None:
        self._options = options
        self._metadata = dg.ResultsMetadata(
            request_id=request_id,
            model_info=dg.ModelInfo(name=options.model),
            model_uuid=dg.model_uuid(model),
        )
        self._request_id = request_id
        self._created = created
        self._digest = hashlib.sha256()
        self._header: ContainerReader | None = None
        self._samples = WholeSamples("pcm_s16le")
        self._words = Words()
        self._settled_s = 0.0
        self._interim: list[SpokenWord] = []
        self._last_word_s: float | None = None

    # ---- from the client

    def begin(self) -> Iterator[Step]:
        """The session begins at the handshake where the query says what the audio is, else with the audio."""
        options = self._options
        if options.encoding is None:
            self._header = ContainerReader()
        else:
            yield self._start(options.encoding, options.sample_rate, options.channels)

    def receive_text(self, text: str) -> Iterator[Step]:
        try:
            control = _Control.model_validate_json(text)
        except ValidationError:
            yield self._error("SchemaError", "expected a JSON object with a field `type`", text)
            return
        match control.type:
            case "KeepAlive":
                if self._header is None:
                    yield KeepAlive()
            case "Finalize":
                yield from self._when_started(Flush())
            case "CloseStream":
                yield from self._when_started(Close())
            case "Configure":
                yield Reply(self._configured(control).json_text())
            case _:
                expected = "expected `type` to be KeepAlive, Finalize, CloseStream or Configure"
                yield self._error("SchemaError", expected, text)

    def receive_bytes(self, data: bytes) -> Iterator[Step]:
        self._digest.update(data)
        if self._header is not None:
            try:
                content = self._header.push(data)
            except DecodingError as error:
                raise SessionError(ErrorCode.BAD_AUDIO, str(error)) from error
            if content is None:
                return
            self._header = None
            yield self._start(content.encoding, content.rate, content.channels)
            data = content.rest
        # A cut through a sample is the client's right; an Opus packet is a message, and passes as it is.
        yield self._samples.cut(data)

    # ---- from the session

    def tell(self, message: ServerMessage) -> Iterator[Step]:
        match message:
            case TranscriptMessage():
                yield from self._transcript(message)
            case SpeechStartedMessage() if self._options.vad_events:
                yield _reply(dg.SpeechStarted(channel=_CHANNEL, timestamp=message.time))
            case EndpointMessage():
                yield self._final(self._words.finish(), message.end, speech_final=self._options.endpoints)
            case FlushedMessage():
                yield self._final(self._words.finish(), message.audio_processed, from_finalize=True)
                yield from self._utterance_end(message.audio_processed)
            case Done():
                yield from self._done(message.totals.audio_s)
            case NativeError():
                yield self._error(message.code.value, message.message)

    def _transcript(self, message: TranscriptMessage) -> Iterator[Step]:
        whole = self._words.add(message.words)
        if whole:
            yield self._final(whole, whole[-1].end)
        if message.words:
            self._last_word_s = message.words[-1].end
        tail = spoken([*self._words.open, *message.tail])
        if self._options.interim and tail != self._interim:
            yield self._results(tail, message.audio_processed, is_final=False)
            self._interim = tail
        if not message.tail:
            yield from self._utterance_end(message.audio_processed)

    def _utterance_end(self, now_s: float) -> Iterator[Step]:
        gap_s = self._options.utterance_end_s
        if gap_s is None or self._last_word_s is None or now_s < self._last_word_s + gap_s:
            return
        words = self._words.finish()
        if words:
            yield self._final(words, self._last_word_s)
        yield _reply(dg.UtteranceEnd(channel=_CHANNEL, last_word_end=self._last_word_s))
        self._last_word_s = None

    def _done(self, audio_s: float) -> Iterator[Step]:
        words = self._words.finish()
        yield self._final(words, audio_s, speech_final=bool(words) and self._options.endpoints)
        yield from self._utterance_end(audio_s)
        yield _reply(
            dg.Metadata(
                request_id=self._request_id,
                sha256=self._digest.hexdigest(),
                created=self._created,
                duration=audio_s,
                channels=1,
            )
        )

    def _final(
        self,
        words: list[SpokenWord],
        end_s: float,
        *,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> Reply:
        """A range that is settled; the next one begins at its end."""
        end_s = max(end_s, self._settled_s)
        reply = self._results(
            words, end_s, is_final=True, speech_final=speech_final, from_finalize=from_finalize
        )
        self._settled_s = end_s
        self._interim = []
        return reply

    def _results(
        self,
        words: list[SpokenWord],
        end_s: float,
        *,
        is_final: bool,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> Reply:
        language = self._options.language_code
        alternative = dg.Alternative.of(words, language, formatted=self._options.formatted)
        return _reply(
            dg.Results(
                channel_index=_CHANNEL,
                start=round(self._settled_s, 3),
                duration=round(max(end_s - self._settled_s, 0.0), 3),
                is_final=is_final,
                speech_final=speech_final,
                from_finalize=from_finalize,
                channel=dg.LiveChannel(alternatives=[alternative]),
                metadata=self._metadata,
            )
        )

    # ---- parts

    def _start(self, encoding: Encoding, rate: int, channels: int) -> Start:
        self._samples = WholeSamples(encoding, channels)
        return Start(
            encoding=encoding,
            sample_rate=rate,
            channels=channels,
            language=self._options.language_code,
            interim=self._options.interim,
            endpoint_ms=self._options.endpoint_ms,
            keyterms=list(self._options.keyterms),
        )

    def _when_started(self, message: Flush | Close) -> Iterator[Step]:
        """Before there was any audio there is no session to ask: an empty one is begun."""
        if self._header is not None:
            self._header = None
            yield self._start("pcm_s16le", self._options.sample_rate, 1)
        yield message

    def _configured(self, control: _Control) -> dg.ConfigureSuccess | dg.ConfigureFailure:
        if control.keyterms:
            return dg.ConfigureFailure(
                request_id=self._request_id,
                code="CONFIGURE_KEYTERMS_NOT_SUPPORTED",
                description="keyterms are given in the query alone, and hold for the whole session",
            )
        return dg.ConfigureSuccess(request_id=self._request_id)

    def _error(self, variant: str, description: str, sent: str | None = None) -> Reply:
        return _reply(dg.Error(variant=variant, description=description, message=sent and sent[:_QUOTED]))


def _reply(message: dg.Error | dg.Results | dg.SpeechStarted | dg.UtteranceEnd | dg.Metadata) -> Reply:
    return Reply(message.json_text())
