"""What tests of the server share: the real engine, real speech, a bystander that must not notice, a raw client."""

import atexit
import base64
import difflib
import io
import json
import os
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import soundfile
import soxr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import voicewire.client
from voicewire.streaming.engine import Engine
from voicewire.streaming.server import RunningServer
from voicewire.streaming.settings import ServerSettings

CLIP = Path(voicewire.client.__file__).parent / "clips" / "art-of-printing.opus"
SLOTS = 4
START = {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000}


@cache
def real_engine() -> Engine:
    """Whisper base on its real weights, loaded once for all tests of a process."""
    engine = Engine.from_settings(ServerSettings(max_sessions=SLOTS, threads=1))
    engine.start()
    engine.wait_ready(240)
    atexit.register(engine.stop, 5.0)
    return engine


@cache
def speech(seconds: float = 5.0, rate: int = 16_000) -> np.ndarray:
    """Real speech, int16; the first words are about printing."""
    samples, source_rate = soundfile.read(io.BytesIO(CLIP.read_bytes()), dtype="float32")
    resampled = soxr.resample(samples, source_rate, rate)[: round(seconds * rate)]
    return np.clip(resampled * 32_768, -32_768, 32_767).astype("<i2")


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@contextmanager
def session(server: RunningServer, **start: object) -> Iterator[ClientConnection]:
    """A started session of a client that pings nobody."""
    with connect(server.url, ping_interval=None, close_timeout=5, max_size=None) as websocket:
        websocket.send(json.dumps({**START, **start}))
        assert receive(websocket)["type"] == "ready"
        yield websocket


def receive(websocket: ClientConnection, timeout: float = 30.0) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(websocket.recv(timeout))
    return message


def receive_all(websocket: ClientConnection, timeout: float = 30.0) -> list[dict[str, Any]]:
    """Every message until the server closes."""
    messages = []
    try:
        while True:
            messages.append(receive(websocket, timeout))
    except ConnectionClosed:
        return messages


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(message["text"] for message in messages if message["type"] == "transcript").strip()


def transcribe(
    server: RunningServer, data: bytes, piece: int = 9600, **start: object
) -> list[dict[str, Any]]:
    """Sends audio as fast as it goes and gives every message."""
    with session(server, **start) as websocket:
        sender = threading.Thread(target=_send, args=(websocket, pieces(data, piece), 0.0))
        sender.start()
        messages = receive_all(websocket)
        sender.join()
    assert websocket.close_code == 1000
    return messages


def _send(websocket: ClientConnection, parts: list[bytes], pause_s: float) -> None:
    try:
        for part in parts:
            websocket.send(part)
            time.sleep(pause_s)
        websocket.send('{"type": "close"}')
    except ConnectionClosed:
        pass


@cache
def undisturbed(server: RunningServer) -> str:
    """What the bystander hears when nobody disturbs."""
    return text_of(transcribe(server, speech().tobytes()))


@contextmanager
def bystander(server: RunningServer) -> Iterator[None]:
    """A healthy session goes on beside the block, five times as fast as speech, and gets all its words."""
    expected = undisturbed(server)
    messages: list[dict[str, Any]] = []
    with session(server) as websocket:
        parts = pieces(speech().tobytes(), 9600)
        sender = threading.Thread(target=_send, args=(websocket, parts, 0.06))
        reader = threading.Thread(target=lambda: messages.extend(receive_all(websocket)))
        sender.start()
        reader.start()
        try:
            yield
        finally:
            sender.join()
            reader.join()
    assert messages[-1]["type"] == "done", messages[-1]
    assert websocket.close_code == 1000
    # In a batch of another size the arithmetic may round otherwise, so a comma may differ.
    assert difflib.SequenceMatcher(None, text_of(messages), expected).ratio() > 0.95, text_of(messages)


def get(url: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, JSON body and headers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def slots_in_use(server: RunningServer) -> int:
    in_use: int = get(f"{server.http_url}/readyz")[1]["slots"]["in_use"]
    return in_use


def wait_for_slots(server: RunningServer, at_most: int, within_s: float) -> None:
    """Until so many slots are in use, or fewer: the bystander may be done already."""
    deadline = time.monotonic() + within_s
    while (now := slots_in_use(server)) > at_most:
        assert time.monotonic() < deadline, f"{now} slots in use after {within_s} s, expected {at_most}"
        time.sleep(0.05)


class RawWebSocket:
    """A websocket client that keeps no rules: it sends frames as they are made here."""

    def __init__(self, server: RunningServer, receive_buffer: int | None = None) -> None:
        parts = urlsplit(server.url)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect((parts.hostname, parts.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.received = b""
        while b"\r\n\r\n" not in self.received:
            self.received += self.socket.recv(4096)
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101"), head

    def __enter__(self) -> "RawWebSocket":
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    @staticmethod
    def header(size: int, opcode: int = 2, *, fin: bool = True, masked: bool = True) -> bytes:
        """A frame's header with a mask of zeros, which changes nothing."""
        first, mask = opcode | (0x80 if fin else 0), 0x80 if masked else 0
        if size < 126:
            head = struct.pack("!BB", first, mask | size)
        elif size < 65_536:
            head = struct.pack("!BBH", first, mask | 126, size)
        else:
            head = struct.pack("!BBQ", first, mask | 127, size)
        return head + (bytes(4) if masked else b"")

    def send(self, data: bytes | str | dict[str, object], **kind: Any) -> None:
        if isinstance(data, bytes):
            self.socket.sendall(self.header(len(data), **kind) + data)
        else:
            payload = (data if isinstance(data, str) else json.dumps(data)).encode()
            self.socket.sendall(self.header(len(payload), 1, **kind) + payload)

    def start(self, **start: object) -> None:
        self.send({**START, **start})
        assert self.receive()[1]["type"] == "ready"

    def _exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError
            self.received += data
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def receive(self) -> tuple[int, Any]:
        """Opcode and content of the next frame: JSON of a text, code and reason of a close."""
        first, size = self._exactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        data = self._exactly(size)
        match first & 0x0F:
            case 1:
                return 1, json.loads(data)
            case 8:
                return 8, (struct.unpack("!H", data[:2])[0], data[2:].decode())
            case opcode:
                return opcode, data

    def receive_end(self) -> tuple[dict[str, Any] | None, int]:
        """The last text message before the close, and the close's code."""
        last = None
        while True:
            opcode, content = self.receive()
            if opcode == 1:
                last = content
            elif opcode == 8:
                return last, content[0]

    def vanish(self) -> None:
        """As when the machine goes: a reset, and no word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def hung_up(self, within_s: float) -> bool:
        """Whether the server drops the connection in time; what it still says is thrown away."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True
