"""What tests of the other protocols share: a session's messages made by hand, and a facade's steps taken apart."""

import json
from collections.abc import Iterable
from typing import Any

from voicewire.streaming.messages import (
    ClientMessage,
    Done,
    EndpointMessage,
    Error,
    ErrorCode,
    FlushedMessage,
    Limits,
    Ready,
    Settings,
    SpeechStartedMessage,
    Totals,
    TranscriptMessage,
    WordItem,
)
from voicewire.streaming.protocols.facade import Reply, Step


class SessionSays:
    """Speaks as a session would: half a second for each word, a pause before an endpoint.

    Attributes:
        now_s: audio looked at so far.
        last_word_s: end of the last word.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.last_word_s = 0.0
        self._seq = 0
        self._said: list[WordItem] = []
        self._utterance = 0

    def ready(self) -> Ready:
        settings = Settings(
            encoding="pcm_s16le",
            sample_rate=16_000,
            channels=1,
            language="en",
            chunk_ms=300,
            commit_ms=1200,
            endpoint_ms=700,
            interim=True,
            words=True,
        )
        limits = Limits(message_bytes=1, idle_s=1, session_s=1, buffered_s=1)
        return Ready(session_id="s", model="base", settings=settings, limits=limits)

    def words(self, *committed: str, tail: str = "") -> TranscriptMessage:
        items = [self._item(text) for text in committed]
        self._said += items
        later = [self._item(tail)] if tail else []
        if tail:
            self.now_s -= 0.5
        return TranscriptMessage(
            seq=self._next(),
            words=items,
            tail=later,
            text="".join(committed),
            tail_text=tail,
            utterance=self._utterance,
            audio_received=self.now_s,
            audio_processed=self.now_s,
            buffered_ms=0,
        )

    def silence(self, seconds: float) -> TranscriptMessage:
        self.now_s += seconds
        return self.words()

    def speech_started(self) -> SpeechStartedMessage:
        return SpeechStartedMessage(seq=self._next(), time=self.now_s)

    def endpoint(self) -> EndpointMessage:
        said, self._said = self._said, []
        self.now_s += 0.7
        self._utterance += 1
        return EndpointMessage(
            seq=self._next(),
            utterance=self._utterance - 1,
            start=said[0].start if said else self.now_s,
            end=said[-1].end if said else self.now_s,
            text="".join(item.word for item in said).strip(),
        )

    def flushed(self, tag: str | int | None = None) -> FlushedMessage:
        return FlushedMessage(seq=self._next(), id=tag, audio_processed=self.now_s)

    def done(self) -> Done:
        return Done(totals=Totals(audio_s=self.now_s, words=0, utterances=self._utterance))

    def error(self, code: ErrorCode) -> Error:
        return Error(code=code, message="in words")

    def _item(self, text: str) -> WordItem:
        start = self.now_s
        self.now_s += 0.5 if text[:1].isspace() else 0.0
        self.last_word_s = self.now_s
        return WordItem(word=text, start=start, end=self.now_s, probability=0.9, emitted=self.now_s)

    def _next(self) -> int:
        self._seq += 1
        return self._seq


def replies(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """What the client is told, as JSON."""
    return [json.loads(step.data) for step in steps if isinstance(step, Reply)]


def native(steps: Iterable[Step]) -> list[ClientMessage]:
    """The messages for the session."""
    return [step for step in steps if not isinstance(step, Reply | bytes)]


def audio_of(steps: Iterable[Step]) -> bytes:
    """The audio for the session, joined."""
    return b"".join(step for step in steps if isinstance(step, bytes))
