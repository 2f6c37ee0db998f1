"""Sessions whose connection is lost and that go on over another one: nothing is lost, and nothing comes twice."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_raw

from tests import codecs_at_hand
from tests.recognisers import ScriptedRecogniser
from tests.serving import (
    SLOTS,
    START,
    RawWebSocket,
    pieces,
    real_engine,
    receive,
    receive_all,
    slots_in_use,
    speech,
    wait_for_slots,
)
from voicewire.asr.events import Endpoint, Event, Flushed, Transcript, Word
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.client import ConnectionLost, connect
from voicewire.client.tokens import TokensEvent
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    FlushStream,
    Opened,
    OpenStream,
    Progress,
    PushAudio,
)
from voicewire.streaming.engine import Engine
from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import (
    CLOSE_CODES,
    AckMessage,
    Done,
    ErrorCode,
    Ready,
    Resumed,
    ServerMessage,
    TranscriptMessage,
)
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.session import Session
from voicewire.streaming.settings import ServerSettings

pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]

SETTINGS = ServerSettings(outgoing_items=400)
START_TEXT = json.dumps({**START, "resume": True})


# ---- the session alone


@dataclass
class Wire:
    """A session, an engine that says a word per half second, and a client that keeps what it sent."""

    now: float = 0.0
    sent: list[str | bytes] = field(default_factory=list)
    heard: list[ServerMessage | bytes] = field(default_factory=list)
    passed: int = 0
    pushed: int = 0
    words: int = 0

    def __post_init__(self) -> None:
        self.session = Session(SETTINGS, "base", "a1", self.now, token="secret")
        self.obey(self.session.receive_text(START_TEXT, self.now))
        ready = self.session.take()
        assert isinstance(ready, Ready)
        assert ready.resume is not None
        assert ready.resume == SETTINGS.ticket("secret")

    def obey(self, commands: list[Command]) -> None:
        """The engine."""
        for command in commands:
            events: list[Event] = []
            match command:
                case OpenStream():
                    self.obey(self.session.receive_report(Opened(), self.now))
                    continue
                case PushAudio():
                    self.pushed += len(command.samples)
                    while self.words < self.pushed // (SAMPLE_RATE // 2):
                        self.words += 1
                        at = self.words / 2
                        word = Word(f" {self.words}", at - 0.5, at, 0.9, at)
                        events.append(Transcript((word,), (), self.words // 8, at))
                        if self.words % 8 == 0:
                            events.append(Endpoint(self.words // 8, at - 4, at, "text"))
                case FlushStream():
                    events.append(Flushed(command.tag, self.pushed / SAMPLE_RATE))
                case CloseStream():
                    continue
            if events:
                self.obey(self.session.receive_report(Progress(tuple(events), self.pushed), self.now))

    def pass_on(self, most: int) -> None:
        """The network carries so many messages of the client's to the server."""
        for data in self.sent[self.passed : self.passed + most]:
            self.passed += 1
            if isinstance(data, bytes):
                self.obey(self.session.receive_bytes(data, self.now))
            else:
                self.obey(self.session.receive_text(data, self.now))

    def hear(self, most: int, lost: int = 0) -> None:
        """And so many to the client; the server sends `lost` more, which never arrive."""
        for _ in range(most):
            if (message := self.session.take()) is None:
                return
            if not isinstance(message, AckMessage | Resumed):
                self.heard.append(message)
        for _ in range(lost):
            self.session.take()

    def break_connection(self, *, noticed: bool) -> None:
        """Whether the server notices or not, the client comes back a second later."""
        if noticed:
            self.obey(self.session.connection_lost(self.now))
        self.now += 1.0
        self.session.resume(len(self.heard), self.now)
        resumed = self.session.take()
        assert isinstance(resumed, Resumed)
        assert resumed.received <= self.passed
        self.passed = resumed.received


def told(messages: list[ServerMessage | bytes]) -> list[str]:
    """What a session said, however its transcripts were joined on the way."""
    said: list[str] = []
    for message in messages:
        if isinstance(message, TranscriptMessage):
            said += [f"{message.utterance}{word.word}" for word in message.words]
        elif not isinstance(message, bytes):
            said.append(message.model_dump_json(exclude={"seq"}))
    return said


def conversation(seconds: int) -> list[str | bytes]:
    audio = [bytes(SAMPLE_RATE // 2) for _ in range(4 * seconds)]
    asked: list[str | bytes] = [
        '{"type": "flush", "id": 1}',
        '{"type": "configure", "chunk_ms": 100}',
        '{"type": "flush", "id": 2}',
        '{"type": "keepalive"}',
    ]
    step = len(audio) // len(asked)
    said = [
        item for part, text in enumerate(asked) for item in (*audio[part * step : (part + 1) * step], text)
    ]
    return [*said, '{"type": "close"}']


SAID = conversation(10)


@cache
def undisturbed() -> list[str]:
    wire = Wire(sent=SAID)
    wire.pass_on(len(SAID))
    wire.hear(10_000)
    assert isinstance(wire.heard[-1], Done)
    return told(wire.heard)


accidents = st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(0, 20), st.booleans())


@settings(max_examples=100, deadline=None)
@given(st.lists(accidents, max_size=12))
def test_wherever_the_connection_breaks_the_client_hears_the_same(
    breaks: list[tuple[int, int, int, bool]],
) -> None:
    wire = Wire(sent=SAID)
    for passed, heard, lost, noticed in breaks:
        wire.pass_on(passed)
        wire.hear(heard, lost)
        wire.break_connection(noticed=noticed)
    wire.pass_on(len(SAID))
    wire.hear(10_000)
    assert told(wire.heard) == undisturbed()
    numbered = [message.seq for message in wire.heard if hasattr(message, "seq")]
    assert numbered == list(range(1, len(numbered) + 1))


def test_an_abandoned_session_waits_as_long_as_it_said_and_no_longer() -> None:
    wire = Wire(sent=conversation(2))
    wire.pass_on(3)
    assert wire.session.connection_lost(wire.now) == []
    assert wire.session.abandoned
    assert wire.session.next_deadline() == SETTINGS.resume_s
    assert wire.session.tick(SETTINGS.resume_s - 0.1) == []
    assert wire.session.tick(SETTINGS.resume_s) == [CloseStream()]
    assert not wire.session.abandoned
    with pytest.raises(SessionError) as refusal:
        wire.session.resume(0, wire.now)
    assert refusal.value.code is ErrorCode.RESUME_FAILED


def test_who_did_not_ask_is_not_waited_for() -> None:
    session = Session(SETTINGS, "base", "a1", 0.0, token="secret")
    session.receive_text(json.dumps(START), 0.0)
    session.receive_report(Opened(), 0.0)
    ready = session.take()
    assert isinstance(ready, Ready)
    assert ready.resume is None
    assert session.connection_lost(1.0) == [CloseStream()]


def test_messages_that_were_acknowledged_or_are_too_many_are_not_kept() -> None:
    wire = Wire(sent=[bytes(SAMPLE_RATE)] * 600)
    for _ in range(10):
        wire.pass_on(5)
        wire.hear(1000)
    wire.obey(wire.session.receive_text(json.dumps({"type": "ack", "received": 20}), wire.now))
    with pytest.raises(SessionError, match="the first 19 messages"):
        wire.session.resume(19, wire.now)
    wire.session.resume(20, wire.now)
    for _ in range(550):
        wire.pass_on(1)
        wire.hear(1000)
    with pytest.raises(SessionError) as refusal:
        wire.session.resume(20, wire.now)
    assert refusal.value.code is ErrorCode.RESUME_FAILED


def test_an_acknowledgement_of_what_was_never_sent_is_an_error() -> None:
    wire = Wire()
    wire.session.receive_text('{"type": "ack", "received": 1}', wire.now)
    assert wire.session.ended_with is ErrorCode.BAD_MESSAGE


def test_the_client_is_told_what_it_need_not_keep() -> None:
    wire = Wire(sent=[bytes(32)] * 32 + [bytes(64 * 1024)])
    wire.pass_on(31)
    assert wire.session.take() is None
    wire.pass_on(1)
    assert wire.session.take() == AckMessage(received=32)
    wire.pass_on(1)
    assert wire.session.take() == AckMessage(received=33)


def test_an_abandoned_session_is_ended_by_a_server_that_stops() -> None:
    wire = Wire(sent=conversation(4))
    wire.pass_on(10)
    wire.session.connection_lost(wire.now)
    wire.obey(wire.session.shut_down(wire.now, 5.0))
    assert wire.session.ended_with is ErrorCode.SHUTTING_DOWN
    assert wire.session.abandoned
    wire.session.resume(0, wire.now)
    wire.hear(1000)
    assert [word for word in told(wire.heard) if word.startswith("0 ")] == ["0 1", "0 2", "0 3", "0 4"]
    assert json.loads(told(wire.heard)[-1])["code"] == ErrorCode.SHUTTING_DOWN


# ---- over sockets


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(), engine=real_engine()) as server:
        yield server


@dataclass(frozen=True)
class Heard:
    """What a client got: words with their times, tokens as bytes, and how often it was resumed."""

    words: list[str]
    records: list[bytes]
    done: Done
    resumed: int


async def stream_speech(url: str, seconds: float, breaks: Sequence[float] = (), **options: Any) -> Heard:
    """Sends speech in two seconds while the connection is cut at these moments of them."""
    words: list[str] = []
    records: list[bytes] = []
    resumed = 0
    parts = pieces(speech(seconds).tobytes(), 3200)
    async with connect(url, **options) as stream:

        async def cut() -> None:
            at_s = 0.0
            for moment in sorted(breaks):
                await asyncio.sleep(moment - at_s)
                at_s = moment
                stream._link._socket.transport.abort()

        async def source() -> AsyncIterator[bytes]:
            for piece in parts:
                yield piece
                await asyncio.sleep(2.0 / len(parts))

        cutter = asyncio.create_task(cut())
        async for event in stream.feed(source()):
            if isinstance(event, TokensEvent):
                records.append(event.record)
            elif isinstance(event, TranscriptMessage):
                words += [f"{word.word} {word.start} {word.end}" for word in event.words]
            resumed += isinstance(event, Resumed)
        cutter.cancel()
    assert isinstance(event, Done)
    return Heard(words, records, event, resumed)


async def test_twenty_broken_connections_cost_no_word(server: RunningServer) -> None:
    expected = await stream_speech(server.url, 6.0)
    assert expected.resumed == 0
    assert len(expected.words) > 10
    chance = random.Random(7)
    heard = await stream_speech(server.url, 6.0, [chance.uniform(0.0, 2.5) for _ in range(20)])
    assert (heard.words, heard.done) == (expected.words, expected.done)
    assert heard.resumed >= 8


async def test_tokens_go_on_without_a_seam() -> None:
    """Those of Lyra, beside words that a real recogniser need not say."""
    codec = codecs_at_hand.codec("lyra_v2")
    engine = Engine(ScriptedRecogniser, SLOTS, lambda: {codec.name: codec})
    engine.start()
    options = {"outputs": ["words", "tokens"], "codec": codec.name}
    with running_server(ServerSettings(), engine=engine) as server:
        expected = await stream_speech(server.url, 4.0, **options)
        heard = await stream_speech(server.url, 4.0, [0.2, 0.5, 0.9, 1.3, 1.7, 2.1], **options)
    engine.stop()
    assert len(expected.records) > 10
    assert heard.resumed >= 3
    assert heard.words == expected.words
    assert b"".join(heard.records) == b"".join(expected.records)


def greeted(server: RunningServer) -> tuple[ClientConnection, str]:
    websocket = connect_raw(server.url, ping_interval=None, legacy=True)
    websocket.send(START_TEXT)
    ready = receive(websocket)
    return websocket, ready["resume"]["token"]


def returned(server: RunningServer, token: str, received: int = 0) -> ClientConnection:
    websocket = connect_raw(f"{server.url}?resume", ping_interval=None, legacy=True)
    websocket.send(json.dumps({"type": "resume", "token": token, "received": received}))
    return websocket


def cut(websocket: ClientConnection) -> None:
    websocket.socket.shutdown(socket.SHUT_RDWR)


def test_a_lost_session_keeps_its_seat_even_on_a_full_server(server: RunningServer) -> None:
    clients = [greeted(server) for _ in range(SLOTS)]
    lost, token = clients.pop()
    lost.send(speech(2.0).tobytes())
    cut(lost)
    with pytest.raises(InvalidStatus), connect_raw(server.url):
        pass
    assert slots_in_use(server) == SLOTS
    with returned(server, token) as back:
        resumed = receive(back)
        assert resumed["type"] == "resumed"
        assert (resumed["received"], resumed["audio_received"]) in ((0, 0.0), (1, 2.0))
        back.send('{"type": "close"}')
        assert receive_all(back)[-1]["type"] == "done"
    for websocket, _ in clients:
        websocket.close()


def test_a_new_connection_takes_over_from_one_that_seems_to_live(server: RunningServer) -> None:
    first, token = greeted(server)
    with returned(server, token) as second:
        assert receive(second)["type"] == "resumed"
        with pytest.raises(ConnectionClosed):
            first.recv(5)
        second.send(speech(1.0).tobytes())
        second.send('{"type": "close"}')
        assert receive_all(second)[-1]["totals"]["audio_s"] == 1.0


def test_the_last_words_are_kept_for_who_lost_them(server: RunningServer) -> None:
    with RawWebSocket(server) as client:
        client.send({**START, "resume": True})
        token = client.receive()[1]["resume"]["token"]
        client.send(speech(2.0).tobytes())
        client.send({"type": "close"})
        while client.receive()[1]["type"] != "done":
            pass
        client.vanish()
    with returned(server, token) as back:
        messages = receive_all(back)
    assert messages[0]["type"] == "resumed"
    assert messages[0]["received"] == 2
    assert messages[-1]["type"] == "done"


def test_who_says_goodbye_does_not_come_back(server: RunningServer) -> None:
    for code, back in ((1000, False), (1001, False), (4000, True)):
        websocket, token = greeted(server)
        websocket.close(code)
        wait_for_slots(server, 1 if back else 0, within_s=5)
        with returned(server, token) as again:
            answer = receive(again)
        assert answer["type"] == ("resumed" if back else "error"), code
        wait_for_slots(server, 0, within_s=5)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "resume", "token": "nobody's", "received": 0}, ErrorCode.RESUME_FAILED),
        (START, ErrorCode.START_EXPECTED),
        ({"type": "resume"}, ErrorCode.BAD_MESSAGE),
    ],
)
def test_a_return_that_cannot_be_is_explained(
    server: RunningServer, message: dict[str, Any], code: ErrorCode
) -> None:
    with connect_raw(f"{server.url}?resume") as websocket:
        websocket.send(json.dumps(message))
        assert receive(websocket)["code"] == code
        with pytest.raises(ConnectionClosed):
            receive(websocket)
    assert websocket.close_code == CLOSE_CODES[code]


def test_nobody_is_waited_for_beyond_the_window(server: RunningServer) -> None:
    for window_s in (0.0, 0.3):
        with running_server(ServerSettings(resume_s=window_s), engine=server.engine) as other:
            websocket = connect_raw(other.url, legacy=True)
            websocket.send(START_TEXT)
            ticket = receive(websocket)["resume"]
            assert bool(ticket) == bool(window_s)
            cut(websocket)
            wait_for_slots(other, 0, within_s=3)
            if ticket:
                with returned(other, ticket["token"]) as back:
                    assert receive(back)["code"] == ErrorCode.RESUME_FAILED


async def test_without_resume_a_lost_connection_is_the_end(server: RunningServer) -> None:
    with pytest.raises(ConnectionLost):
        await stream_speech(server.url, 2.0, [0.5], resume=False)
