"""The sockets that a server listens on: for websockets and HTTP, and for each protocol with a port of its own."""

import contextlib
import socket
from dataclasses import dataclass

from voicewire.streaming.settings import ServerSettings

# What the kernel holds for one connection, in bytes. It bounds how much audio waits unread behind a session that
# is held back, and how much a client may leave unread before the server notices.
_SOCKET_BUFFER_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Listeners:
    """Listening sockets.

    Attributes:
        main: for websockets and HTTP.
        vosk: for clients of Vosk's, which know no path; None where nobody asked for it.
        wyoming: for Home Assistant; None where nobody asked for it.
    """

    main: socket.socket
    vosk: socket.socket | None = None
    wyoming: socket.socket | None = None

    @classmethod
    def open(cls, settings: ServerSettings, port: int) -> "Listeners":
        """`port` is the main one's. Raises OSError, whose `filename` is the address that cannot be had."""
        with contextlib.ExitStack() as opened:
            main = _listen(settings.host, port)
            opened.callback(main.close)
            others = []
            for address in (settings.vosk, settings.wyoming):
                host, _, own_port = address.rpartition(":")
                listener = _listen(host.strip("[]") or settings.host, int(own_port)) if own_port else None
                if listener is not None:
                    opened.callback(listener.close)
                others.append(listener)
            opened.pop_all()
        return cls(main, *others)

    @property
    def web(self) -> list[socket.socket]:
        """Those that speak HTTP."""
        return [self.main] if self.vosk is None else [self.main, self.vosk]

    def close(self) -> None:
        for listener in (self.main, self.vosk, self.wyoming):
            if listener is not None:
                listener.close()


def port_of(listener: socket.socket | None) -> int | None:
    """Where a socket listens, which the kernel may have chosen; None for none."""
    return None if listener is None else int(listener.getsockname()[1])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, whose connections inherit its buffers' sizes."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        error.filename = f"{host}:{port}"
        raise
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        error.filename = f"{host}:{port}"
        raise
    return listener
