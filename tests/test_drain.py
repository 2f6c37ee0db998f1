"""A server process that is told to stop: it says what it has heard, turns strangers away, and ends cleanly."""

import difflib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.serving import START, receive, receive_all, speech, text_of
from voicewire.streaming.messages import ErrorCode

pytestmark = pytest.mark.slow

CODE = (
    "from voicewire.streaming.server import serve\n"
    "from voicewire.streaming.settings import ServerSettings\n"
    "serve(ServerSettings.load(None, threads=1, max_sessions=4, codecs=['none']))"
)


class Process:
    """`serve` in a process of its own, with its model loaded."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.log = []
        for line in process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == "model_loaded":
                break
        port = next(entry["port"] for entry in self.log if entry["event"] == "listening")
        self.url = f"ws://127.0.0.1:{port}/v1/stream"


@contextmanager
def served(**settings: object) -> Iterator[Process]:
    given = {f"VOICEWIRE_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VOICEWIRE_PORT": "0", **given},
    )
    try:
        yield Process(process)
    finally:
        process.kill()
        process.wait()


def test_under_load_no_word_of_what_was_heard_is_lost() -> None:
    """One session that has said `close`, two in the midst of their audio, and a client that comes too late."""
    audio = speech(5.0).tobytes()
    with served(shutdown_s=30) as server, ExitStack() as clients:
        sockets = [clients.enter_context(connect(server.url)) for _ in range(3)]
        for websocket in sockets:
            websocket.send(json.dumps({**START, "interim": False}))
            assert receive(websocket)["type"] == "ready"
        for websocket in sockets:
            websocket.send(audio)
        sockets[0].send('{"type": "close"}')
        heard: list[list[dict[str, object]]] = [[] for _ in sockets]
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises((InvalidStatus, ConnectionRefusedError)) as refusal, connect(server.url):
            pass
        readers = [
            threading.Thread(target=lambda said=said, socket=socket: said.extend(receive_all(socket, 60)))
            for said, socket in zip(heard, sockets, strict=True)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert server.process.wait(40) == 0
    if isinstance(refusal.value, InvalidStatus):
        assert refusal.value.response.status_code == 503
    closed, *cut = heard
    assert closed[-1]["type"] == "done"
    assert closed[-1]["totals"] == {"audio_s": 5.0, "words": len(words(closed)), "utterances": 1}
    assert len(words(closed)) > 8
    for messages, websocket in zip(cut, sockets[1:], strict=True):
        assert messages[-1]["code"] == ErrorCode.SHUTTING_DOWN
        assert websocket.close_code == 1012
        # In a batch of another size the arithmetic may round otherwise, so a comma may differ.
        assert difflib.SequenceMatcher(None, text_of(messages), text_of(closed)).ratio() > 0.95


def words(messages: list[dict[str, object]]) -> list[object]:
    return [word for message in messages for word in message.get("words", [])]  # type: ignore[attr-defined]


def test_the_second_signal_ends_at_once() -> None:
    with served(shutdown_s=60) as server, connect(server.url) as websocket:
        websocket.send(json.dumps(START))
        assert receive(websocket)["type"] == "ready"
        websocket.send(speech(20.0).tobytes())
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        server.process.wait(30)
        assert time.monotonic() - began < 8
