"""Hostile inputs over raw sockets: handshakes, frames and messages that no client makes, one a connection."""

import json
import os
import random
import socket
import struct
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

START: dict[str, Any] = {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000}
_MESSAGES: tuple[dict[str, Any], ...] = (
    {**START, "chunk_ms": 300, "commit_ms": 1200, "outputs": ["words"], "resume": True},
    {"type": "resume", "token": "nobody's", "received": 3},
    {"type": "configure", "chunk_ms": 200, "endpoint_ms": 500},
    {"type": "flush", "id": "a"},
    {"type": "ack", "received": 7},
    {"type": "keepalive"},
    {"type": "close"},
)
_ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 1e308, float("nan"), "", "\0", "pcm", "x" * 5000, [], {}, [[[[]]]], {"type": "a"},
)  # fmt: skip
_PATIENCE_S = 0.01


class Fuzzer:
    """Makes inputs one after another, the same ones for the same seed.

    Attributes:
        sent: inputs by kind.
        unanswered: connections that the server would not take: it is gone, or hangs.
    """

    def __init__(self, url: str, seed: int) -> None:
        parts = urlsplit(url)
        self._url = url
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._chance = random.Random(seed)
        self.sent: Counter[str] = Counter()
        self.unanswered = 0

    def attack(self) -> None:
        """One input, and a look at the answer."""
        kind = self._chance.choice(("handshake", "frame", "message", "conversation"))
        self.sent[kind] += 1
        try:
            with socket.create_connection(self._address, timeout=10) as connection:
                getattr(self, f"_{kind}")(connection)
                self._leave(connection)
        except (ConnectionError, BrokenPipeError):
            pass  # it hung up, as it may
        except OSError:
            self.unanswered += 1

    # ---- kinds

    def _handshake(self, connection: socket.socket) -> None:
        chance = self._chance
        hello = bytearray(request(self._url, chance.randbytes(16)))
        match chance.randrange(5):
            case 0:
                hello = bytearray(chance.randbytes(chance.randrange(1, 2000)))
            case 1:
                del hello[chance.randrange(len(hello)) :]
            case 2:
                for _ in range(chance.randrange(1, 20)):
                    hello[chance.randrange(len(hello))] = chance.randrange(256)
            case 3:
                hello[-2:-2] = b"X-Long: " + b"a" * chance.randrange(100_000) + b"\r\n"
            case _:
                at = chance.randrange(len(hello))
                hello[at:at] = chance.choice((b"\r\n", b"\0", b"\r\n\r\n", b"HTTP/9.9", b"\xff" * 50))
        connection.sendall(hello)

    def _frame(self, connection: socket.socket) -> None:
        self._shake_hands(connection)
        chance = self._chance
        for _ in range(chance.randrange(1, 4)):
            size = chance.choice((0, 1, 125, 126, 127, 1000))
            first = chance.randrange(256)
            match chance.randrange(4):
                case 0:
                    data = chance.randbytes(chance.randrange(1, 200))
                case 1:
                    data = bytes((first, 0x80 | 127)) + struct.pack("!Q", chance.getrandbits(64))
                case 2:
                    data = bytes((first, min(size, 125))) + chance.randbytes(min(size, 125))
                case _:
                    data = framed(chance.randbytes(size), first & 0x0F, first & 0xF0)
            connection.sendall(data)

    def _message(self, connection: socket.socket) -> None:
        self._shake_hands(connection)
        connection.sendall(framed(self._spoilt(self._chance.choice(_MESSAGES)), 1))

    def _conversation(self, connection: socket.socket) -> None:
        """A session that begins as it should."""
        self._shake_hands(connection)
        chance = self._chance
        encoding = chance.choice(("pcm_s16le", "pcm_f32le", "mulaw", "opus", "flac", "tokens"))
        start = {**START, "encoding": encoding}
        connection.sendall(framed(json.dumps(start).encode(), 1))
        for _ in range(chance.randrange(1, 6)):
            if chance.random() < 0.5:
                connection.sendall(framed(chance.randbytes(chance.randrange(3000)), 2))
            else:
                connection.sendall(framed(self._spoilt(chance.choice(_MESSAGES)), 1))

    # ---- inside

    def _spoilt(self, message: dict[str, Any]) -> bytes:
        """JSON of a message with something wrong, as often as not."""
        chance, spoilt = self._chance, dict(message)
        changes: tuple[Callable[[], Any], ...] = (
            lambda: spoilt.update({chance.choice([*spoilt]): chance.choice(_ODD)}),
            lambda: spoilt.pop(chance.choice([*spoilt])),
            lambda: spoilt.update({"unknown": chance.choice(_ODD)}),
            lambda: None,
        )
        chance.choice(changes)()
        text = bytearray(json.dumps(spoilt).encode())
        if chance.random() < 0.3:
            text[chance.randrange(len(text))] = chance.randrange(256)
        if chance.random() < 0.05:
            text = bytearray(b"[" * chance.randrange(1, 100_000))
        return bytes(text)

    def _shake_hands(self, connection: socket.socket) -> None:
        connection.sendall(request(self._url, self._chance.randbytes(16)))
        connection.recv(4096)

    def _leave(self, connection: socket.socket) -> None:
        """Reads what comes at once; goes without a word, or with a reset."""
        connection.settimeout(_PATIENCE_S * self._chance.random())
        until = time.monotonic() + _PATIENCE_S
        try:
            while connection.recv(65_536) and time.monotonic() < until:
                pass
        except TimeoutError:
            pass
        if self._chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def request(url: str, key: bytes) -> bytes:
    """A websocket's handshake, from the client's side."""
    parts = urlsplit(url)
    return (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {b64encode(key).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def framed(data: bytes, opcode: int, first: int = 0x80) -> bytes:
    """A websocket frame as clients send it."""
    size = len(data)
    if size < 126:
        head = struct.pack("!BB", first | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first | opcode, 0x80 | 127, size)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
