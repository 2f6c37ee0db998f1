"""OpenAI's realtime transcription, `/v1/realtime?intent=transcription`, over a native session.

The conversation is a row of items, one for each turn of the speaker. An item ends at an endpoint where the server
tells turns apart, or where the client commits its audio. Deltas are committed text alone: clients append them.
"""

import base64
import binascii
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from voicewire.streaming.errors import ParameterError
from voicewire.streaming.messages import (
    Configure,
    EndpointMessage,
    Flush,
    FlushedMessage,
    ServerMessage,
    SpeechStartedMessage,
    TranscriptMessage,
)
from voicewire.streaming.messages import Error as NativeError
from voicewire.streaming.protocols import openai_events as oai
from voicewire.streaming.protocols.cutting import WholeSamples
from voicewire.streaming.protocols.facade import Reply, Step
from voicewire.streaming.protocols.openai_settings import RealtimeSettings

# OpenAI's own bound; a commit of less is most likely a commit too many.
_SHORTEST_COMMIT_S = 0.1
# The gate may open for a noise in which there are no words; a client is not to think for ever that someone speaks.
_WORDLESS_S = 3.0


@dataclass(slots=True)
class _Item:
    """One turn.

    Attributes:
        text: committed so far.
        dropped: its audio was cleared: nothing of it is told.
        speaking_s: where its speech began; None where that was not told.
    """

    id: str
    previous: str | None
    text: list[str] = field(default_factory=list)
    dropped: bool = False
    speaking_s: float | None = None


class OpenAIRealtime:
    """One realtime session.

    Args:
        session_id: for the client, and for the log.
        model: what is said to listen until the client names another.
    """

    def __init__(self, session_id: str, model: str) -> None:
        self._session_id = session_id
        self._settings = RealtimeSettings(model=model)
        self._started = False
        self._samples = WholeSamples("pcm_s16le")
        self._bytes_per_s = 0
        self._uncommitted_bytes = 0
        self._events = 0
        self._items = 1
        self._current = _Item(f"item_{session_id}_1", None)
        self._committed: deque[_Item] = deque()
        self._settled_s = 0.0

    # ---- from the client

    def begin(self) -> Iterator[Step]:
        yield self._session_event("session.created")

    def receive_bytes(self, data: bytes) -> Iterator[Step]:
        yield self._refused("binary messages mean nothing here: append audio as base64", None, None)

    def receive_text(self, text: str) -> Iterator[Step]:
        try:
            event = oai.ClientEvent.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            yield self._refused(f"no event: {first['msg']}", ".".join(map(str, first["loc"])) or None, None)
            return
        try:
            yield from self._event(event)
        except ParameterError as error:
            yield self._refused(str(error), error.name, event.event_id)

    def _event(self, event: oai.ClientEvent) -> Iterator[Step]:
        match event.type:
            case "session.update":
                yield from self._update(event.session or {}, older=False)
            case "transcription_session.update":
                yield from self._update(event.session or {}, older=True)
            case "input_audio_buffer.append":
                yield from self._append(event.audio)
            case "input_audio_buffer.commit":
                yield from self._commit(event.event_id)
            case "input_audio_buffer.clear":
                yield from self._clear()
            case _:
                raise ParameterError("type", f"{event.type[:60]!r} means nothing to a transcription session")

    def _update(self, session: dict[str, Any], *, older: bool) -> Iterator[Step]:
        before, self._settings = self._settings, self._changed(session, older=older)
        if not self._started:
            yield from self._start()
        elif self._settings.endpoint_ms != before.endpoint_ms:
            yield Configure(endpoint_ms=self._settings.endpoint_ms)
        yield self._session_event(
            "transcription_session.updated" if older else "session.updated", older=older
        )

    def _changed(self, session: dict[str, Any], *, older: bool) -> RealtimeSettings:
        changed = self._settings.updated(session, older=older)
        if self._started and changed.start.encoding != self._settings.start.encoding:
            raise ParameterError("session.audio.input.format", "it cannot change any more: connect again")
        if self._started and changed.language_code != self._settings.language_code:
            raise ParameterError(
                "session.audio.input.transcription.language", "it cannot change any more: connect again"
            )
        return changed

    def _start(self) -> Iterator[Step]:
        start = self._settings.start
        self._started = True
        self._samples = WholeSamples(start.encoding)
        self._bytes_per_s = start.sample_rate * (2 if start.encoding == "pcm_s16le" else 1)
        yield start

    def _append(self, audio: str | None) -> Iterator[Step]:
        if audio is None:
            raise ParameterError("audio", "missing: send base64")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ParameterError("audio", "this is not base64") from error
        if not self._started:
            yield from self._start()
        self._uncommitted_bytes += len(data)
        yield self._samples.cut(data)

    def _commit(self, event_id: str | None) -> Iterator[Step]:
        if not self._started or self._uncommitted_bytes < _SHORTEST_COMMIT_S * self._bytes_per_s:
            message = "less than 100 ms of audio to commit: append some first"
            yield self._refused(message, None, event_id, "input_audio_buffer_commit_empty")
            return
        yield from self._told_committed(self._current)
        yield from self._cut(dropped=False)

    def _clear(self) -> Iterator[Step]:
        if self._uncommitted_bytes:
            yield from self._cut(dropped=True)
        yield self._reply(oai.Cleared(event_id=self._event_id()))

    def _cut(self, *, dropped: bool) -> Iterator[Step]:
        """The present item ends with the audio so far; its words are on their way."""
        self._current.dropped = dropped
        self._committed.append(self._current)
        self._next_item()
        yield Flush()

    # ---- from the session

    def tell(self, message: ServerMessage) -> Iterator[Step]:
        match message:
            case TranscriptMessage():
                yield from self._transcript(message)
            case SpeechStartedMessage():
                yield from self._speech_started(message.time)
            case EndpointMessage() if self._settings.turns is not None and not self._committed:
                yield from self._turn_over(message.end)
            case FlushedMessage() if self._committed:
                yield from self._completed(self._committed.popleft(), message.audio_processed)
            case NativeError():
                detail = oai.ErrorDetail.of(message.code, message.message)
                yield self._reply(oai.ErrorEvent(event_id=self._event_id(), error=detail))

    def _transcript(self, message: TranscriptMessage) -> Iterator[Step]:
        item = self._committed[0] if self._committed else self._current
        if message.text and not item.dropped:
            if item is self._current and message.words:
                yield from self._speech_started(message.words[0].start)
            delta = message.text if item.text else message.text.lstrip()
            item.text.append(delta)
            yield self._reply(oai.Delta(event_id=self._event_id(), item_id=item.id, delta=delta))
        started_s = self._current.speaking_s
        wordless = started_s is not None and not self._current.text and not message.tail
        if wordless and message.audio_processed - (started_s or 0.0) >= _WORDLESS_S:
            yield from self._turn_over(message.audio_processed)

    def _speech_started(self, time_s: float) -> Iterator[Step]:
        item = self._current
        if self._settings.turns is None or item.speaking_s is not None:
            return
        item.speaking_s = time_s
        yield self._reply(
            oai.SpeechStarted(event_id=self._event_id(), item_id=item.id, audio_start_ms=round(1000 * time_s))
        )

    def _turn_over(self, end_s: float) -> Iterator[Step]:
        """The server ends an item, where the speaker paused."""
        item = self._current
        if item.speaking_s is not None:
            yield self._reply(
                oai.SpeechStopped(
                    event_id=self._event_id(), item_id=item.id, audio_end_ms=round(1000 * end_s)
                )
            )
        yield from self._told_committed(item)
        self._next_item()
        yield from self._completed(item, end_s)

    def _told_committed(self, item: _Item) -> Iterator[Step]:
        yield self._reply(
            oai.Committed(event_id=self._event_id(), item_id=item.id, previous_item_id=item.previous)
        )
        added = oai.Item(id=item.id, content=[oai.AudioContent()])
        yield self._reply(
            oai.ItemAdded(event_id=self._event_id(), item=added, previous_item_id=item.previous)
        )

    def _completed(self, item: _Item, end_s: float) -> Iterator[Step]:
        seconds = max(0.0, round(end_s - self._settled_s, 3))
        self._settled_s = max(end_s, self._settled_s)
        if not item.dropped:
            yield self._reply(
                oai.Completed(
                    event_id=self._event_id(),
                    item_id=item.id,
                    transcript="".join(item.text),
                    usage=oai.Duration(seconds=seconds),
                )
            )

    # ---- parts

    def _next_item(self) -> None:
        # A cleared item was never part of the conversation.
        previous = self._current.previous if self._current.dropped else self._current.id
        self._items += 1
        self._current = _Item(f"item_{self._session_id}_{self._items}", previous)
        self._uncommitted_bytes = 0

    def _session_event(self, kind: Any, *, older: bool = False) -> Reply:
        session = self._settings.told(self._session_id, older=older)
        return self._reply(oai.SessionEvent(event_id=self._event_id(), type=kind, session=session))

    def _refused(
        self, message: str, param: str | None, event_id: str | None, code: str = "invalid_value"
    ) -> Reply:
        """An error that ends nothing."""
        detail = oai.ErrorDetail(
            type="invalid_request_error", code=code, message=message, param=param, event_id=event_id
        )
        return self._reply(oai.ErrorEvent(event_id=self._event_id(), error=detail))

    def _event_id(self) -> str:
        self._events += 1
        return f"event_{self._session_id}_{self._events}"

    @staticmethod
    def _reply(event: oai.ServerEvent) -> Reply:
        return Reply(event.model_dump_json())
