"""LiveKit's speech-to-text over the native protocol: what a stream of `voicewire.client` hears, as events."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any
from weakref import WeakSet

from voicewire.client.assistants.failures import may_pass
from voicewire.client.assistants.segment import Segment, Segments
from voicewire.client.connection import connect
from voicewire.client.errors import ClientError, ServerError
from voicewire.client.stream import Stream
from voicewire.client.tokens import Event
from voicewire.streaming.messages import Done, EndpointMessage

try:
    from livekit import rtc
    from livekit.agents import (
        DEFAULT_API_CONNECT_OPTIONS,
        APIConnectionError,
        APIConnectOptions,
        APIError,
        LanguageCode,
        stt,
        utils,
    )
    from livekit.agents.types import NOT_GIVEN, NotGivenOr, TimedString
    from livekit.agents.utils import is_given
except ModuleNotFoundError as error:
    raise ImportError(f"{error}: LiveKit Agents is needed here, pip install 'voicewire[livekit]'") from error


@dataclass(frozen=True)
class STTOptions:
    """What a session is opened with; `voicewire.client.connect` says what each means."""

    language: LanguageCode
    interim: bool
    endpoint_ms: int
    chunk_ms: int | None
    commit_ms: int | None
    keyterms: tuple[str, ...]


class STT(stt.STT[str]):
    """Hears with a voicewire server::

        session = AgentSession(stt=STT(url="ws://127.0.0.1:8765"), vad=silero.VAD.load(), ...)

    Speech begins with its first words and ends at a pause of `endpoint_ms`. What is final comes there and at a
    flush, which LiveKit asks for where its turn detection needs the text; each event has the words' times. A
    connection that is lost is made anew and goes on where it stopped; where the session itself is lost, LiveKit's
    retries begin.
    """

    def __init__(
        self,
        *,
        url: str = "ws://127.0.0.1:8765",
        api_key: str | None = None,
        language: str = "en",
        sample_rate: int = 16_000,
        interim_results: bool = True,
        endpoint_ms: int = 700,
        chunk_ms: int | None = None,
        commit_ms: int | None = None,
        keyterms: Sequence[str] = (),
    ) -> None:
        """Does not connect yet.

        Args:
            url: ``ws://HOST:PORT``, ``wss://HOST``, or ``HOST:PORT``.
            api_key: for a server that asks for one.
            language: any common spelling; of regions Whisper knows nothing.
            sample_rate: what streams are resampled to, 8,000 to 48,000 Hz.
            interim_results: whether to be told words before they are final.
            endpoint_ms: a pause of this length ends an utterance, 200 to 10,000.
            chunk_ms: how often the server looks at new audio, 100 to 300; None is the server's own default.
            commit_ms: the length of a committed block, 100 to 1200; None is the server's own default.
            keyterms: names and terms that are likely to be said, beside those that LiveKit finds.
        """
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True,
                interim_results=interim_results,
                aligned_transcript="word",
                manual_flush=True,
                keyterms=True,
            )
        )
        self._url = url
        self._api_key = api_key
        self._sample_rate = sample_rate
        self._keyterms = tuple(keyterms)
        self._options = STTOptions(
            LanguageCode(language), interim_results, endpoint_ms, chunk_ms, commit_ms, self._keyterms
        )
        self._model = "unknown"
        self._streams: WeakSet[SpeechStream] = WeakSet()

    @property
    def model(self) -> str:
        """The server's model, once one has answered."""
        return self._model

    @property
    def provider(self) -> str:
        return "voicewire"

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> "SpeechStream":
        stream = SpeechStream(self, self._options_in(language), self._sample_rate, conn_options)
        self._streams.add(stream)
        return stream

    def update_options(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        endpoint_ms: NotGivenOr[int] = NOT_GIVEN,
        chunk_ms: NotGivenOr[int | None] = NOT_GIVEN,
        commit_ms: NotGivenOr[int | None] = NOT_GIVEN,
    ) -> None:
        """Changes what is given, for streams that are open too: at a pause they go on in another session."""
        changes: dict[str, Any] = {
            "language": LanguageCode(language) if is_given(language) else NOT_GIVEN,
            "endpoint_ms": endpoint_ms,
            "chunk_ms": chunk_ms,
            "commit_ms": commit_ms,
        }
        self._change({name: value for name, value in changes.items() if is_given(value)})

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        """LiveKit's own of the session, beside those that the program named."""
        merged = tuple(dict.fromkeys([*self._keyterms, *keyterms]))
        if merged != self._options.keyterms:
            self._change({"keyterms": merged})

    def _change(self, changes: dict[str, Any]) -> None:
        self._options = replace(self._options, **changes)
        for stream in self._streams:
            stream.change(changes)

    async def aclose(self) -> None:
        for stream in list(self._streams):
            await stream.aclose()

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        frame = rtc.combine_audio_frames(buffer)
        options = replace(self._options_in(language), interim=False)
        segments = Segments()
        heard: list[Segment | None] = []
        async with self.session(options, frame.sample_rate, frame.num_channels, conn_options) as stream:
            async for event in stream.feed([frame.data.tobytes()]):
                heard.append(segments.hear(event))
        words = tuple(word for segment in heard if segment and segment.final for word in segment.words)
        whole = _speech(Segment(words, final=True), options.language) if words else None
        data = whole or stt.SpeechData(options.language, "")
        return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, stream.ready.session_id, [data])

    @asynccontextmanager
    async def session(
        self, options: STTOptions, sample_rate: int, channels: int, conn_options: APIConnectOptions
    ) -> AsyncIterator[Stream]:
        """A session with the server. Raises LiveKit's errors."""
        settings = asdict(options) | {"language": options.language.language}
        try:
            async with connect(
                self._url,
                api_key=self._api_key,
                sample_rate=sample_rate,
                channels=channels,
                keepalive=True,
                open_timeout_s=conn_options.timeout,
                **settings,
            ) as stream:
                self._model = stream.ready.model
                yield stream
        except ServerError as error:
            raise APIError(str(error), body=error.code.value, retryable=may_pass(error)) from error
        except ClientError as error:
            raise APIConnectionError(str(error), retryable=may_pass(error)) from error

    def _options_in(self, language: NotGivenOr[str]) -> STTOptions:
        if not is_given(language):
            return self._options
        return replace(self._options, language=LanguageCode(language))


class SpeechStream(stt.RecognizeStream):
    """Speech that is heard while it goes on; `STT.stream` opens it."""

    def __init__(
        self, owner: STT, options: STTOptions, sample_rate: int, conn_options: APIConnectOptions
    ) -> None:
        self._owner = owner
        self._options = options
        self._sample_rate = sample_rate
        self._changed = False
        self._segments = Segments()
        self._session_id = ""
        self._speaking = False
        # Of the audio: pushed in all, where the session began in it, and how much is in no report of usage yet.
        self._pushed_s = self._began_s = self._unreported_s = 0.0
        super().__init__(stt=owner, conn_options=conn_options, sample_rate=sample_rate)

    def change(self, changes: dict[str, Any]) -> None:
        """Goes on in another session with other options, as soon as nobody speaks."""
        self._options = replace(self._options, **changes)
        self._changed = True

    async def _run(self) -> None:
        """One session after another, until the audio has ended. Raises LiveKit's errors, and is then run again."""
        # LiveKit moves `start_time_offset` by what lies before.
        self._pushed_s = 0.0
        while not (self._input_ch.closed and self._input_ch.empty()):
            self._changed = False
            self._began_s = self._pushed_s
            began = time.perf_counter()
            try:
                async with self._owner.session(
                    self._options, self._sample_rate, 1, self._conn_options
                ) as stream:
                    self._report_connection_acquired(time.perf_counter() - began, False)
                    self._segments = Segments()
                    self._session_id = stream.ready.session_id
                    async for event in stream.feed(self._audio(stream)):
                        self._hear(event)
            finally:
                self._tell(self._segments.end())

    async def _audio(self, stream: Stream) -> AsyncIterator[bytes]:
        """What LiveKit pushes, up to the end or to new settings; flushes are asked for where they stand in it."""
        async for data in self._input_ch:
            if isinstance(data, rtc.AudioFrame):
                self._pushed_s += data.duration
                self._unreported_s += data.duration
                yield data.data.tobytes()
            else:
                await stream.request_flush()
            if self._changed and not self._speaking:
                return

    def _hear(self, event: Event) -> None:
        self._tell(self._segments.hear(event))
        if self._speaking and isinstance(event, EndpointMessage | Done):
            self._speaking = False
            self._send(stt.SpeechEventType.END_OF_SPEECH)

    def _tell(self, segment: Segment | None) -> None:
        if segment is None:
            return
        if not self._speaking:
            self._speaking = True
            self._send(stt.SpeechEventType.START_OF_SPEECH)
        kind = stt.SpeechEventType
        data = _speech(segment, self._options.language, self.start_time_offset + self._began_s)
        self._send(kind.FINAL_TRANSCRIPT if segment.final else kind.INTERIM_TRANSCRIPT, data)
        if segment.final:
            self._report_usage()

    def _report_usage(self) -> None:
        usage, self._unreported_s = stt.RecognitionUsage(self._unreported_s), 0.0
        event = stt.SpeechEvent(stt.SpeechEventType.RECOGNITION_USAGE, self._session_id)
        self._event_ch.send_nowait(replace(event, recognition_usage=usage))

    def _send(self, kind: stt.SpeechEventType, *data: stt.SpeechData) -> None:
        self._event_ch.send_nowait(stt.SpeechEvent(kind, self._session_id, list(data)))


def _speech(segment: Segment, language: LanguageCode, offset_s: float = 0.0) -> stt.SpeechData:
    return stt.SpeechData(
        language,
        segment.text,
        start_time=segment.start + offset_s,
        end_time=segment.end + offset_s,
        confidence=segment.confidence,
        words=[
            TimedString(
                word.word.strip(),
                start_time=word.start + offset_s,
                end_time=word.end + offset_s,
                confidence=word.probability,
                start_time_offset=offset_s,
            )
            for word in segment.words
        ],
    )
