"""Vosk's websocket protocol over a native session: one JSON answer for each binary frame, no more and no fewer.

An answer waits until the session is nearly as far as the frame, so that a client which sends a file as fast as it
is answered hears its words on the way. It never waits for more audio: the next frame may come after it alone.
"""

import json
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import (
    Close,
    Done,
    EndpointMessage,
    Error,
    ErrorCode,
    Flush,
    FlushedMessage,
    ServerMessage,
    Start,
    TranscriptMessage,
)
from voicewire.streaming.protocols.cutting import WholeSamples
from voicewire.streaming.protocols.facade import Reply, Step
from voicewire.streaming.protocols.spoken import SpokenWord, Words, confidence, spoken

# How far a session may be behind what was received and yet have nothing more to look at: a tick, what the look
# needs beyond its end, what the resampler holds, and the second between two watermarks in silence.
_LAG_S = 1.5


class _Config(BaseModel):
    """What a client may set. It names no model: that is the server's business, whatever path it sends."""

    model_config = ConfigDict(extra="ignore")

    sample_rate: Annotated[float, Field(ge=8_000, le=48_000)] = 8_000
    words: bool = True
    max_alternatives: Annotated[int, Field(ge=0, le=100)] = 0


class _Control(BaseModel):
    model_config = ConfigDict(extra="ignore")

    config: _Config | None = None
    eof: int | None = None
    reset: int | None = None


class Vosk:
    """One connection."""

    def __init__(self) -> None:
        self._config = _Config()
        self._started = False
        self._samples = WholeSamples("pcm_s16le")
        self._received_bytes = 0
        self._processed_s = 0.0
        # For each frame that has no answer yet: how far the session must be.
        self._owed: deque[float] = deque()
        self._words = Words()
        self._said: list[SpokenWord] = []
        self._tail: list[SpokenWord] = []
        self._results: deque[list[SpokenWord]] = deque()

    # ---- from the client

    def begin(self) -> Iterator[Step]:
        yield from ()

    def receive_text(self, text: str) -> Iterator[Step]:
        try:
            control = _Control.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "message"
            raise SessionError(ErrorCode.BAD_MESSAGE, f"{where}: {first['msg']}") from error
        if control.config is not None and not self._started:
            self._config = control.config
        if control.eof is not None:
            yield from self._start()
            yield Close()
        elif control.reset is not None:
            yield from self._start()
            yield Flush()

    def receive_bytes(self, data: bytes) -> Iterator[Step]:
        yield from self._start()
        self._received_bytes += len(data)
        self._owed.append(self._received_bytes / (2 * self._config.sample_rate) - _LAG_S)
        yield self._samples.cut(data)
        yield from self._answers()

    # ---- from the session

    def tell(self, message: ServerMessage) -> Iterator[Step]:
        match message:
            case TranscriptMessage():
                self._said += self._words.add(message.words)
                self._tail = spoken([*self._words.open, *message.tail])
                self._processed_s = message.audio_processed
                yield from self._answers()
            case EndpointMessage():
                self._end_result()
                yield from self._answers()
            case FlushedMessage():
                self._processed_s = message.audio_processed
                yield from self._finished()
            case Done():
                yield from self._finished()
            case Error():
                yield _reply({"error": message.message, "code": message.code.value})

    def _answers(self) -> Iterator[Step]:
        while self._owed and self._owed[0] <= self._processed_s:
            self._owed.popleft()
            yield self._answer()

    def _finished(self) -> Iterator[Step]:
        """Every frame is answered by now, and then all that was said since the last result."""
        while self._owed:
            self._owed.popleft()
            yield self._answer()
        self._end_result()
        words = [word for result in self._results for word in result]
        self._results.clear()
        yield self._result(words)

    def _answer(self) -> Reply:
        if self._results:
            return self._result(self._results.popleft())
        return _reply({"partial": _text([*self._said, *self._tail])})

    def _end_result(self) -> None:
        words = [*self._said, *self._words.finish()]
        self._said, self._tail = [], []
        if words:
            self._results.append(words)

    def _result(self, words: list[SpokenWord]) -> Reply:
        content: dict[str, Any] = {}
        if self._config.words and words:
            content["result"] = [
                {
                    "conf": word.confidence,
                    "start": round(word.start, 3),
                    "end": round(word.end, 3),
                    "word": word.plain,
                }
                for word in words
            ]
        content["text"] = _text(words)
        if self._config.max_alternatives:
            return _reply({"alternatives": [{"confidence": confidence(words), **content}]})
        return _reply(content)

    def _start(self) -> Iterator[Step]:
        if not self._started:
            self._started = True
            yield Start(encoding="pcm_s16le", sample_rate=round(self._config.sample_rate))


def _text(words: list[SpokenWord]) -> str:
    return " ".join(word.plain for word in words)


def _reply(content: dict[str, Any]) -> Reply:
    return Reply(json.dumps(content, ensure_ascii=False))
