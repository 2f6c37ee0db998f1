"""A recorded session once more: the same frames through the same session and engine, and whether the words are.

What is compared is all that is settled: words with their times and probabilities, utterances, flushes, resets,
tokens. Tails depend on how fast the server was, and are not compared. A session that ended before its time is
compared as far as it went.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ValidationError

from voicewire.streaming.commands import SetEffort
from voicewire.streaming.engine import Engine
from voicewire.streaming.errors import SessionError, TapeError
from voicewire.streaming.ladder import Rung
from voicewire.streaming.live import LiveSession
from voicewire.streaming.messages import (
    Ack,
    ClientMessage,
    Close,
    Done,
    EndpointMessage,
    ErrorCode,
    FlushedMessage,
    KeepAlive,
    ServerMessage,
    SpeechStartedMessage,
    TranscriptMessage,
    Warning,
    parse_server_message,
)
from voicewire.streaming.metrics import DONE
from voicewire.streaming.parsing import parse
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.tape import Head, Kind, Line

Item: TypeAlias = tuple[Any, ...]

# A replay waits for as long as it takes.
_PATIENCE_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a replay.

    Attributes:
        recorded, replayed: all that was settled, in order.
        whole: whether the recording has the session's proper end, so that nothing more may follow in the replay.
    """

    recorded: tuple[Item, ...]
    replayed: tuple[Item, ...]
    whole: bool

    @property
    def difference(self) -> tuple[Item | None, Item | None] | None:
        """The first item that is not the same, as recorded and as replayed; None where every one is."""
        for recorded, replayed in zip(self.recorded, self.replayed, strict=False):
            if recorded != replayed:
                return recorded, replayed
        count = min(len(self.recorded), len(self.replayed))
        if len(self.recorded) > count:
            return self.recorded[count], None
        if self.whole and len(self.replayed) > count:
            return None, self.replayed[count]
        return None

    @property
    def words(self) -> int:
        """Words that were compared."""
        return sum(item[0] == "word" for item in self.recorded)


def settled(messages: Iterable[ServerMessage | bytes]) -> tuple[Item, ...]:
    """What is said for good, without what depends on how fast it was said."""
    items: list[Item] = []
    for message in messages:
        match message:
            case bytes():
                items.append(("tokens", message))
            case TranscriptMessage(words=[]):
                items += [("text", message.utterance, character) for character in message.text]
            case TranscriptMessage():
                items += [("word", message.utterance, *word.model_dump().values()) for word in message.words]
            case SpeechStartedMessage():
                items.append(("speech_started", message.time))
            case EndpointMessage():
                items.append(("endpoint", message.utterance, message.start, message.end, message.text))
            case FlushedMessage():
                items.append(("flushed", message.id, message.audio_processed))
            case Warning(code=ErrorCode.DECODER_RESET):
                items.append(("reset", message.message))
            case Done():
                items.append(("done", *message.totals.model_dump().values()))
    return tuple(items)


def recorded_settings(head: Head, **changes: Any) -> ServerSettings:
    """Those that a session was recorded with, for a server of one session; `changes` that are None change nothing.

    Raises TapeError.
    """
    wanted = {**head.settings, **{name: value for name, value in changes.items() if value is not None}}
    wanted |= dict.fromkeys(("idle_s", "session_s", "drain_s"), _PATIENCE_S)
    wanted |= {"max_sessions": 1, "threads": 1, "overload_s": 0}
    try:
        return ServerSettings(**wanted)
    except (ValidationError, TypeError) as error:
        raise TapeError(f"the settings that it was recorded with cannot be had here: {error}") from error


def replay(engine: Engine, settings: ServerSettings, lines: Sequence[Line]) -> Outcome:
    """Plays what the client sent to an engine that is ready and has a seat. Raises TapeError, EngineError."""
    told = [
        line.content if line.kind is Kind.MADE else _message(line)
        for line in lines
        if line.kind in (Kind.MADE, Kind.SAID)
    ]
    whole = bool(lines) and lines[-1] == Line(lines[-1].at_s, Kind.ENDED, DONE)
    return Outcome(settled(told), settled(asyncio.run(_play(engine, settings, lines))), whole)


def _message(line: Line) -> ServerMessage:
    try:
        return parse_server_message(json.dumps(line.content))
    except ValidationError as error:
        raise TapeError(f"at {line.at_s:.2f} s stands no message of this version: {error}") from error


async def _play(
    engine: Engine, settings: ServerSettings, lines: Sequence[Line]
) -> list[ServerMessage | bytes]:
    live = LiveSession(settings, engine.model_name, engine.codecs)
    seat = engine.reserve(live.take_report)
    if seat is None:
        raise TapeError("the engine has no seat for a replay")
    live.begin(seat)
    sender = asyncio.create_task(_send(live, lines, settings.message_bytes))
    said: list[ServerMessage | bytes] = []
    try:
        while (message := await live.take()) is not None:
            said.append(message)
            if len(said) == 1:
                # The session is open, and has heard nothing yet.
                for line in lines:
                    if line.kind is Kind.EFFORT:
                        seat.send(SetEffort(Rung(line.content["rung"]), line.content["from_samples"]))
    finally:
        sender.cancel()
        live.leave()
    return said


async def _send(live: LiveSession, lines: Sequence[Line], most_bytes: int) -> None:
    """What the client sent, as fast as it is taken, and the end where the client did not say it."""
    for line in lines:
        await live.hearing()
        if live.closed:
            return
        if line.kind is Kind.DATA:
            live.put_bytes(line.content)
        elif line.kind is Kind.TEXT and not isinstance(_read(line.content, most_bytes), Ack | KeepAlive):
            live.put_text(line.content)
        await asyncio.sleep(0)
    live.put(Close())


def _read(text: str, most_bytes: int) -> ClientMessage | None:
    """None for what is no message, which is replayed as it is."""
    with suppress(SessionError):
        return parse(text, most_bytes)
    return None
