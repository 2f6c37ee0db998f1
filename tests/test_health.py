"""What `/healthz` and `/readyz` say of a server that works, is full, hangs, or is about to end."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.recognisers import ScriptedRecogniser
from tests.serving import get, receive_all, session
from voicewire.streaming.engine import Engine
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

Asked = tuple[int, str]


@pytest.fixture
def recogniser() -> ScriptedRecogniser:
    return ScriptedRecogniser()


@pytest.fixture
def server(recogniser: ScriptedRecogniser) -> Iterator[RunningServer]:
    engine = Engine(lambda: recogniser, 1)
    engine.start()
    with running_server(ServerSettings(stall_s=0.3, shutdown_s=2), engine=engine) as server:
        engine.wait_ready(10)
        yield server
    engine.stop()


def ask(server: RunningServer, path: str) -> Asked:
    status, body, _ = get(f"{server.http_url}{path}")
    return status, body["status"]


def until(server: RunningServer, path: str, wanted: Asked) -> None:
    deadline = time.monotonic() + 10
    while (said := ask(server, path)) != wanted:
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


def test_a_full_server_is_ready_but_has_no_seat(server: RunningServer) -> None:
    assert ask(server, "/readyz?seats=1") == (200, "ready")
    with session(server):
        assert ask(server, "/readyz") == (200, "ready")
        assert ask(server, "/readyz?seats=1") == (503, "full")
        assert ask(server, "/healthz") == (200, "ok")
    until(server, "/readyz?seats=1", (200, "ready"))


def test_an_engine_that_hangs_is_neither_healthy_nor_ready(
    server: RunningServer, recogniser: ScriptedRecogniser
) -> None:
    with session(server) as websocket:
        recogniser.gate.clear()
        websocket.send(np.zeros(16_000, "<i2").tobytes())
        until(server, "/healthz", (503, "stalled"))
        assert ask(server, "/readyz") == (503, "stalled")
        recogniser.gate.set()
        until(server, "/healthz", (200, "ok"))
        assert ask(server, "/readyz") == (200, "ready")
        websocket.send('{"type": "close"}')
        receive_all(websocket)


def test_an_idle_engine_is_healthy_for_as_long_as_it_likes(server: RunningServer) -> None:
    with session(server):
        time.sleep(0.8)
        assert ask(server, "/healthz") == (200, "ok")


def test_many_short_turns_are_no_long_one(server: RunningServer, recogniser: ScriptedRecogniser) -> None:
    recogniser.step_s = 0.1
    with session(server) as websocket:
        websocket.send(np.zeros(10 * 16_000, "<i2").tobytes())
        for _ in range(8):
            assert ask(server, "/healthz") == (200, "ok")
            time.sleep(0.1)


def test_an_engine_that_was_stopped_is_not_worth_keeping(
    server: RunningServer, recogniser: ScriptedRecogniser
) -> None:
    with session(server):
        recogniser.gate.clear()
        server.engine.stop(0.0)
        recogniser.gate.set()
        until(server, "/healthz", (503, "failed"))
        assert ask(server, "/readyz")[0] == 503
