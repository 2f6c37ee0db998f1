"""Clients that break every rule, over real sockets, each beside a healthy session that must get all its words."""

import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import soundfile
from websockets.sync.client import connect

from tests.recognisers import ScriptedRecogniser
from tests.serving import (
    RawWebSocket,
    bystander,
    get,
    real_engine,
    receive_all,
    session,
    speech,
    text_of,
    wait_for_slots,
)
from voicewire.streaming.engine import Engine
from voicewire.streaming.messages import CLOSE_CODES, ErrorCode
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

# One worker: the model is loaded once per process.
pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]

# A machine that is busy with other tests would give warnings of its own, so overload is never called so.
HURRIED = ServerSettings(handshake_s=1.0, idle_s=2.5, farewell_s=1.0, drain_s=20.0, overload_s=0)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(HURRIED, engine=real_engine()) as server:
        yield server


def text(message: dict[str, object]) -> str:
    return json.dumps(message)


START = text({"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000})


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "start"', ErrorCode.BAD_JSON),
        ("not JSON at all", ErrorCode.BAD_JSON),
        ("[" * 200_000, ErrorCode.BAD_JSON),
        ("42", ErrorCode.BAD_MESSAGE),
        (text({"type": "start", "encoding": "pcm_s16le", "sample_rate": "16000"}), ErrorCode.BAD_MESSAGE),
        (text({"type": "start", "encoding": 7, "sample_rate": 16_000}), ErrorCode.BAD_MESSAGE),
        (
            text({"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000, "x": 1}),
            ErrorCode.BAD_MESSAGE,
        ),
        (text({"type": "flush"}), ErrorCode.START_EXPECTED),
        (speech().tobytes()[:9600], ErrorCode.START_EXPECTED),
        (b"", ErrorCode.START_EXPECTED),
        ("x" * (1024 * 1024 + 1), ErrorCode.MESSAGE_TOO_BIG),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_session_that_cannot_begin(server: RunningServer, message: str | bytes, code: ErrorCode) -> None:
    with bystander(server), connect(server.url) as websocket:
        websocket.send(message)
        messages = receive_all(websocket)
    assert [message["code"] for message in messages] == [code]
    assert websocket.close_code == CLOSE_CODES[code]
    assert websocket.close_reason == code


@pytest.mark.parametrize(
    ("start", "message", "code"),
    [
        ({}, speech().tobytes()[:9601], ErrorCode.BAD_AUDIO),
        ({"channels": 2}, bytes(6), ErrorCode.BAD_AUDIO),
        ({"encoding": "pcm_f32le"}, np.full(4, np.nan, "<f4").tobytes(), ErrorCode.BAD_AUDIO),
        ({"encoding": "opus"}, b"\xff" * 100_000, ErrorCode.BAD_AUDIO),
        ({"encoding": "ogg_opus"}, b"RIFF0000WAVE", ErrorCode.BAD_AUDIO),
        ({"encoding": "flac"}, b"RIFF0000WAVE", ErrorCode.BAD_AUDIO),
        ({}, START, ErrorCode.ALREADY_STARTED),
        ({}, text({"type": "configure", "chunk_ms": "fast"}), ErrorCode.BAD_MESSAGE),
        ({}, text({"type": "configure", "commit_ms": 100}), ErrorCode.UNSUPPORTED_SETTING),
        ({}, text({"type": "flush", "name": "x"}), ErrorCode.BAD_MESSAGE),
        ({}, bytes(1024 * 1024), ErrorCode.BUFFER_FULL),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_session_that_cannot_go_on(
    server: RunningServer, start: dict[str, object], message: str | bytes, code: ErrorCode
) -> None:
    with bystander(server), session(server, **start) as websocket:
        websocket.send(message)
        messages = receive_all(websocket)
    assert messages[-1]["type"] == "error"
    assert messages[-1]["code"] == code
    assert websocket.close_code == CLOSE_CODES[code]


def test_a_language_that_the_model_does_not_know(server: RunningServer) -> None:
    with bystander(server), connect(server.url) as websocket:
        websocket.send(text({**json.loads(START), "language": "klingon"}))
        messages = receive_all(websocket)
    assert [message["code"] for message in messages] == [ErrorCode.UNSUPPORTED_SETTING]


def test_hours_of_silence_in_one_message(server: RunningServer) -> None:
    """A decompression bomb: some hundred kilobytes of FLAC that decode to an hour."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(3600 * 16_000, np.int16), 16_000, format="FLAC", subtype="PCM_16")
    before = psutil.Process().memory_info().rss
    with bystander(server), session(server, encoding="flac") as websocket:
        websocket.send(file.getvalue())
        messages = receive_all(websocket)
        grown = psutil.Process().memory_info().rss - before
    assert messages[-1]["code"] == ErrorCode.BUFFER_FULL
    assert grown < 60 * 2**20


# ---- sizes


def pour(raw: RawWebSocket, data: bytes, count: int) -> int:
    """Sends until the server has had enough; gives how many times it took the data."""
    for number in range(count):
        try:
            raw.socket.sendall(data)
        except OSError:
            return number
    return count


@pytest.mark.parametrize("started", [False, True])
def test_a_message_of_100_mb_is_refused_before_it_is_in_memory(server: RunningServer, started: bool) -> None:
    process = psutil.Process()
    with bystander(server), RawWebSocket(server) as raw:
        if started:
            raw.start()
        before = process.memory_info().rss
        raw.socket.sendall(raw.header(100_000_000))
        error, close_code = raw.receive_end()
        # The client may not notice, and goes on.
        poured = pour(raw, bytes(100_000), 1000)
        grown = process.memory_info().rss - before
    assert error is not None
    assert error["code"] == ErrorCode.MESSAGE_TOO_BIG
    assert close_code == 1009
    assert grown < 30 * 2**20
    assert poured <= 1000


def test_a_message_of_100_mb_in_fragments_is_refused_at_its_bound(server: RunningServer) -> None:
    process = psutil.Process()
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        before = process.memory_info().rss
        raw.send(bytes(50_000), fin=False)
        part = raw.header(50_000, 0, fin=False) + bytes(50_000)
        pour(raw, part, 2000)
        grown = process.memory_info().rss - before
        error, close_code = raw.receive_end()
    assert error is not None
    assert error["code"] == ErrorCode.MESSAGE_TOO_BIG
    assert close_code == 1009
    assert grown < 30 * 2**20


def test_a_refusal_is_not_lost_to_a_reset(server: RunningServer) -> None:
    """A server that closes with bytes unread resets the connection, which may overtake what it said last."""
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.send(bytes(50_000), fin=False)
        assert pour(raw, raw.header(50_000, 0, fin=False) + bytes(50_000), 40) == 40
        error, close_code = raw.receive_end()
        assert (error or {})["code"] == ErrorCode.MESSAGE_TOO_BIG
        assert close_code == 1009
        assert raw.socket.recv(1) == b"", "the end, and no reset"


def test_a_message_of_endless_empty_fragments_is_refused(server: RunningServer) -> None:
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.send(b"\0\0", fin=False)
        pour(raw, raw.header(0, 0, fin=False) * 1000, 100)
        error, close_code = raw.receive_end()
    assert error is not None
    assert error["code"] == ErrorCode.MESSAGE_TOO_BIG
    assert close_code == 1009


def test_bytes_that_are_no_text(server: RunningServer) -> None:
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.send(b"\xff\xfe", opcode=1)
        error, close_code = raw.receive_end()
    assert error is not None
    assert error["code"] == ErrorCode.BAD_JSON
    assert close_code == 1007


@pytest.mark.parametrize(
    "frame", [RawWebSocket.header(0, 3), RawWebSocket.header(2, 2, masked=False) + b"\0\0"]
)
def test_bytes_that_are_no_websocket_frame(server: RunningServer, frame: bytes) -> None:
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.socket.sendall(frame)
        _, close_code = raw.receive_end()
        assert raw.hung_up(within_s=5)
    assert close_code == 1002


# ---- clients that are not there


def test_a_client_that_vanishes_in_mid_word(server: RunningServer) -> None:
    with bystander(server):
        raw = RawWebSocket(server)
        raw.start()
        audio = speech().tobytes()
        raw.send(audio[: 32_000 * 2])
        while raw.receive()[1].get("tail_text", "") == "":
            pass
        # In the middle of a frame, too.
        raw.socket.sendall(raw.header(9600) + audio[64_000:70_000])
        raw.vanish()
        wait_for_slots(server, 1, within_s=3)


def test_a_client_that_hangs_up_without_a_closing_handshake(server: RunningServer) -> None:
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.send(speech().tobytes()[:64_000])
        raw.socket.close()
        wait_for_slots(server, 1, within_s=3)


def test_a_client_that_falls_silent_for_ever(server: RunningServer) -> None:
    """As after a cable was pulled: no end of the connection ever comes, and nobody answers the close."""
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.send(speech(3.0).tobytes())
        began = time.monotonic()
        error, close_code = raw.receive_end()
        assert error is not None
        assert error["code"] == ErrorCode.IDLE_TIMEOUT
        assert close_code == CLOSE_CODES[ErrorCode.IDLE_TIMEOUT]
        assert raw.hung_up(within_s=HURRIED.farewell_s + 3)
        assert time.monotonic() - began > HURRIED.idle_s


def test_the_words_before_an_idle_end_are_sent(server: RunningServer) -> None:
    with session(server) as websocket:
        websocket.send(speech(4.0).tobytes())
        messages = receive_all(websocket)
    assert messages[-1]["code"] == ErrorCode.IDLE_TIMEOUT
    assert "printing" in text_of(messages).lower()


def test_start_never_comes(server: RunningServer) -> None:
    with bystander(server), connect(server.url) as websocket:
        messages = receive_all(websocket)
    assert [message["code"] for message in messages] == [ErrorCode.HANDSHAKE_TIMEOUT]
    assert websocket.close_code == CLOSE_CODES[ErrorCode.HANDSHAKE_TIMEOUT]


@pytest.mark.parametrize("beginning", [b"", b"GET /v1/stream HT", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_request_that_never_ends(server: RunningServer, beginning: bytes) -> None:
    parts = urlsplit(server.url)
    with bystander(server), socket.create_connection((parts.hostname, parts.port), timeout=10) as client:
        began = time.monotonic()
        client.sendall(beginning)
        try:
            while time.monotonic() - began < 8:
                client.sendall(b"a")
                time.sleep(0.2)
        except OSError:
            pass
        took = time.monotonic() - began
    assert took < HURRIED.handshake_s + 3


# ---- clients that do not read


def test_a_client_that_never_reads(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    """It causes answer after answer; the server bounds what it keeps for it, and lets it go."""
    caplog.set_level(logging.INFO, "voicewire")
    question = {"type": "configure", "chunk_ms": 200}
    with bystander(server), RawWebSocket(server, receive_buffer=4096) as raw:
        raw.start()
        raw.send(speech().tobytes())
        payload = json.dumps(question).encode()
        frame = raw.header(len(payload), 1) + payload
        raw.socket.settimeout(10)
        asked = pour(raw, frame, 100_000)
        assert asked < 100_000, "the server took every question of a client that reads no answer"
        wait_for_slots(server, 1, within_s=5)
    ends = [record.code for record in caplog.records if record.message == "session_ended"]
    assert ErrorCode.SLOW_READER in ends


def test_a_client_that_pings_and_never_reads(server: RunningServer) -> None:
    with bystander(server), RawWebSocket(server, receive_buffer=4096) as raw:
        raw.start()
        raw.socket.settimeout(10)
        # Not idle either, or that would end it.
        keepalive = text({"type": "keepalive"}).encode()
        pings = (raw.header(125, 9) + bytes(125)) * 1000 + raw.header(len(keepalive), 1) + keepalive
        assert pour(raw, pings, 1000) < 100
        wait_for_slots(server, 1, within_s=5)


def test_a_client_that_asks_to_close_and_does_not_read_the_rest(server: RunningServer) -> None:
    with bystander(server), RawWebSocket(server) as raw:
        raw.start()
        raw.send(speech(3.0).tobytes())
        raw.send({"type": "close"})
        wait_for_slots(server, 1, within_s=10)
        # It was told all, and never answers the closing handshake.
        time.sleep(HURRIED.farewell_s + 0.5)
        _, close_code = raw.receive_end()
        assert close_code == 1000
        assert raw.hung_up(within_s=3)


# ---- odd, and allowed


def test_what_is_odd_and_harmless(server: RunningServer) -> None:
    """Empty audio, two flushes at once, audio after close: answered, and nothing is lost."""
    with bystander(server), session(server) as websocket:
        websocket.send(b"")
        websocket.send(speech(4.0).tobytes())
        websocket.send(text({"type": "flush", "id": 1}))
        websocket.send(text({"type": "flush", "id": 2}))
        websocket.send(text({"type": "close"}))
        websocket.send(speech().tobytes()[:9600])
        messages = receive_all(websocket)
    assert [message["id"] for message in messages if message["type"] == "flushed"] == [1, 2]
    assert [message["code"] for message in messages if message["type"] == "warning"] == [
        ErrorCode.ALREADY_CLOSED
    ]
    assert messages[-1]["type"] == "done"
    assert messages[-1]["totals"]["audio_s"] == 4.0
    assert "printing" in text_of(messages).lower()
    assert websocket.close_code == 1000


def test_an_http_request_where_a_websocket_is(server: RunningServer) -> None:
    status, body, headers = get(server.url.replace("ws://", "http://"))
    assert status == 426
    assert "websocket" in body["message"]
    assert headers["upgrade"] == "websocket"


def test_an_unknown_path(server: RunningServer) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as client:
        client.sendall(b"GET /v2/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 404 " in client.recv(1000)


# ---- faults of ours


def test_a_fault_of_the_model_ends_every_session_clearly_and_the_server_goes_on() -> None:
    """The one fault that a real recogniser cannot be asked for."""
    recogniser = ScriptedRecogniser()
    engine = Engine(lambda: recogniser, 4)
    engine.start()
    with running_server(HURRIED, engine=engine) as server:
        with session(server) as first, session(server) as second:
            recogniser.break_steps = 1
            first.send(bytes(64_000))
            for websocket in (first, second):
                messages = receive_all(websocket)
                assert messages[-1]["code"] == ErrorCode.INTERNAL
                assert websocket.close_code == 1011
        with session(server) as third:
            third.send(bytes(64_000))
            third.send(text({"type": "close"}))
            assert text_of(receive_all(third)) == "w0 w1"
        assert get(f"{server.http_url}/readyz")[0] == 200
    assert engine.stop()
