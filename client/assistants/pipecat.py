"""pipecat's speech-to-text over the native protocol: what a stream of `voicewire.client` hears, as frames."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from voicewire.client.assistants.failures import may_pass
from voicewire.client.assistants.segment import Segment, Segments
from voicewire.client.connection import connect
from voicewire.client.errors import ClientError, ConnectionFailed, ConnectionLost, ServerError
from voicewire.client.stream import Stream
from voicewire.client.tokens import Event
from voicewire.streaming.messages import ErrorCode, FlushedMessage

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterimTranscriptionFrame,
        TranscriptionFrame,
        VADUserStoppedSpeakingFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
    from pipecat.services.settings import STTSettings
    from pipecat.services.stt_service import STTService
    from pipecat.transcriptions.language import Language
    from pipecat.utils.errors import ErrorCategory
    from pipecat.utils.network import QuickFailureTracker, exponential_backoff_time
    from pipecat.utils.time import time_now_iso8601
    from pipecat.utils.tracing.service_decorators import traced_stt
    from pipecat.utils.types import NOT_GIVEN, NotGiven
except ModuleNotFoundError as error:
    raise ImportError(f"{error}: pipecat is needed here, pip install 'voicewire[pipecat]'") from error

# Seconds from the end of speech to the final transcript, of which pipecat's VAD waits 0.2: docs/assistants.md.
TTFS_P99_S = 0.5
_ENDPOINT_MS = 700
# How long the end of a pipeline waits for the last words.
_CLOSE_S = 3.0


@dataclass
class VoicewireSTTSettings(STTSettings):
    """What may change while the pipeline runs. It then holds from the end of the user's turn on, in a new session.

    Parameters:
        endpoint_ms: a pause of this length ends a segment too, where no VAD of the pipeline has done so before.
        chunk_ms: how often the server looks at new audio, 100 to 300; None is the server's own default.
        commit_ms: the length of a committed block, 100 to 1200; None is the server's own default.
        keyterms: names and terms that are likely to be said, as they are to be written.
    """

    endpoint_ms: int | NotGiven = field(default_factory=lambda: NOT_GIVEN)
    chunk_ms: int | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)
    commit_ms: int | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)
    keyterms: list[str] | NotGiven = field(default_factory=lambda: NOT_GIVEN)


class VoicewireSTTService(STTService):
    """Hears with a voicewire server::

        stt = VoicewireSTTService(url="ws://127.0.0.1:8765", api_key=None)
        pipeline = Pipeline([transport.input(), stt, ...])

    Words come as `InterimTranscriptionFrame` while they are spoken, and once as `TranscriptionFrame` when the
    pipeline's VAD says that the user has stopped (the server is asked for the rest of them then, and the frame is
    marked as finalized), or at a pause of `endpoint_ms`. A frame's `result` is a `Segment` with the words' times.

    A connection that is lost is made anew and goes on where it stopped. Where the session itself is lost, the
    words so far are told and another one is opened, until three in a row have failed at once.
    """

    Settings = VoicewireSTTSettings
    _settings: VoicewireSTTSettings

    def __init__(
        self,
        *,
        url: str = "ws://127.0.0.1:8765",
        api_key: str | None = None,
        sample_rate: int | None = None,
        settings: VoicewireSTTSettings | None = None,
        ttfs_p99_latency: float | None = TTFS_P99_S,
        **kwargs: Any,
    ) -> None:
        """Does not connect yet.

        Args:
            url: ``ws://HOST:PORT``, ``wss://HOST``, or ``HOST:PORT``.
            api_key: for a server that asks for one.
            sample_rate: of the audio, 8,000 to 48,000 Hz; None is the pipeline's own.
            settings: language and delays; English and the server's defaults where they are not given.
            ttfs_p99_latency: as measured on one core without a network; measure your own, and pass it here.
            **kwargs: for pipecat's `STTService`.
        """
        complete = self.Settings(
            model=None,
            language=Language.EN,
            endpoint_ms=_ENDPOINT_MS,
            chunk_ms=None,
            commit_ms=None,
            keyterms=[],
        )
        if settings is not None:
            complete.apply_update(settings)
        super().__init__(
            sample_rate=sample_rate, settings=complete, ttfs_p99_latency=ttfs_p99_latency, **kwargs
        )
        self._url = url
        self._api_key = api_key
        self._stream: Stream | None = None
        self._listening: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._segments = Segments()
        self._flushes = 0

    # ---- what pipecat asks

    def can_generate_metrics(self) -> bool:
        return True

    def language_to_service_language(self, language: Language) -> str | None:
        """Whisper knows languages, and no regions."""
        return language.value.partition("-")[0]

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Connects, or has failed to once; it goes on trying beside the pipeline."""
        await super().setup(setup)
        await self._connect()

    async def stop(self, frame: EndFrame) -> None:
        """The last words are told before the pipeline ends."""
        await super().stop(frame)
        await self._finish()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._drop()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._drop()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Sends audio; the words come on their own."""
        if self._stream is not None:
            # Who reads the stream sees its end too, and says why.
            with suppress(ClientError):
                await self._stream.send(audio)
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame) and self._stream is not None:
            self.request_finalize()
            self._flushes += 1
            with suppress(ClientError):
                await self._stream.request_flush(self._flushes)

    async def _update_settings(self, delta: STTSettings) -> dict[str, Any]:
        changed = await super()._update_settings(delta)
        if changed:
            await self._request_reconnect()
        return changed

    async def _do_reconnect(self) -> None:
        await self._finish()
        await self._connect()

    def _classify_error(self, exception: Exception) -> ErrorCategory | None:
        """pipecat gives up for good where the category is one that does not pass by itself."""
        match exception:
            case ServerError(code=ErrorCode.UNAUTHORIZED):
                return ErrorCategory.AUTHENTICATION
            case ConnectionFailed() | ConnectionLost():
                return ErrorCategory.CONNECTIVITY
            case ClientError():
                return ErrorCategory.SERVER if may_pass(exception) else ErrorCategory.INVALID_REQUEST
        return None

    @property
    def _language(self) -> Language | None:
        """As frames have it; None for one of Whisper's that pipecat does not know."""
        with suppress(ValueError):
            return Language(self._settings.language or "en")
        return None

    # ---- the session

    async def _connect(self) -> None:
        self._settled.clear()
        self._listening = self.create_task(self._listen(), "voicewire-listen")
        await self._settled.wait()

    async def _finish(self) -> None:
        """Ends the session with its last words, if it can do so in time."""
        stream, self._stream = self._stream, None
        if stream is not None and self._listening is not None:
            with suppress(ClientError):
                await stream.close(_CLOSE_S)
                await self._listening
        await self._drop()

    async def _drop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            await self.cancel_task(listening)

    async def _listen(self) -> None:
        """One session after another, for as long as it makes sense."""
        failures = QuickFailureTracker()
        while True:
            began = time.monotonic()
            try:
                await self._listen_once()
                return
            except ClientError as error:
                lasted_s = time.monotonic() - began if self._stream else 0.0
                await self._call_event_handler("on_connection_error", str(error))
                await self.push_error(str(error), exception=error)
            finally:
                self._stream = None
                self._settled.set()
            await self._tell(self._segments.end())
            if not self.is_usable:
                return
            if failures.record(lasted_s).should_give_up:
                await self.push_error("no session lasts: giving up", force_treat_as_permanent=True)
                return
            await asyncio.sleep(exponential_backoff_time(failures.count))

    async def _listen_once(self) -> None:
        """One session, until it is closed from here. Raises ClientError."""
        settings = self._settings
        async with connect(
            self._url,
            sample_rate=self.sample_rate,
            language=settings.language or "en",
            chunk_ms=settings.chunk_ms or None,
            commit_ms=settings.commit_ms or None,
            endpoint_ms=settings.endpoint_ms or _ENDPOINT_MS,
            keyterms=settings.keyterms or (),
            keepalive=True,
            # A pipeline must not be held up; audio at the pace of speech holds no more than the server takes.
            max_backlog_s=math.inf,
            api_key=self._api_key,
        ) as stream:
            self._stream = stream
            self._segments = Segments()
            self._settled.set()
            await self._call_event_handler("on_connected")
            try:
                async for event in stream:
                    await self._hear(event)
            finally:
                await self._call_event_handler("on_disconnected")

    async def _hear(self, event: Event) -> None:
        segment = self._segments.hear(event)
        if segment and isinstance(event, FlushedMessage) and event.id == self._flushes:
            self.confirm_finalize()
        await self._tell(segment)

    async def _tell(self, segment: Segment | None) -> None:
        if segment is None:
            return
        if segment.final:
            await self.emit_stt_usage_metrics()
        kind = TranscriptionFrame if segment.final else InterimTranscriptionFrame
        language = self._language
        await self.push_frame(kind(segment.text, self._user_id, time_now_iso8601(), language, result=segment))
        await self._trace(segment.text, segment.final, language)

    @traced_stt
    async def _trace(self, transcript: str, is_final: bool, language: Language | None = None) -> None:
        """For pipecat's tracing, which reads the arguments."""
