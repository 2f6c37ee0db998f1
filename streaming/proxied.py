"""Websockets that come through another server's ASGI proxy, given what transport.py gives them under our own.

Such a proxy takes in whatever a client sends, as fast as it comes, and has no word for a connection that is to be
dropped or was lost. So what waits unread is bounded here, by ending the connection.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicewire.streaming.messages import CLOSE_CODES, Error, ErrorCode
from voicewire.streaming.transport import EXTENSION

# Close codes by which a client says goodbye. 1005, no code, is what uvicorn says of a lost connection too.
_GOODBYES = (1000, 1001)
_LOST: Message = {"type": "websocket.disconnect", "code": 1006}
_SERVICE_RESTART = 1012


class ProxiedWebSockets:
    """The application `app`, for a server whose websockets come through a proxy.

    Args:
        most_unread_bytes: a client that is so far ahead of what is read is told `buffer_full`, and is out.
    """

    def __init__(self, app: ASGIApp, most_unread_bytes: int) -> None:
        self._app = app
        self._most_unread_bytes = most_unread_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        socket = _ProxiedWebSocket(receive, send, self._most_unread_bytes)
        extensions = {**scope.get("extensions", {}), EXTENSION: socket.extension}
        reading = asyncio.create_task(socket.read(), name="voicewire-proxied")
        try:
            await self._app({**scope, "extensions": extensions}, socket.receive, socket.send)
            await socket.finish()
        finally:
            reading.cancel()


class _ProxiedWebSocket:
    """One websocket.

    Attributes:
        parted: whether it ended by rule, once it has ended.
        extension: what transport.py's functions look for.
    """

    def __init__(self, receive: Receive, send: Send, most_unread_bytes: int) -> None:
        self.parted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.extension: dict[str, Any] = {"abort": self.abort, "parted": self.parted}
        self._receive, self._send = receive, send
        self._most_unread_bytes = most_unread_bytes
        self._unread: deque[Message] = deque()
        self._unread_bytes = 0
        self._news = asyncio.Event()
        self._accepted = self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Drops the connection: nothing that comes or goes has an effect any more."""
        if not self.parted.done():
            self._part(by_rule=False)
            self._close(_SERVICE_RESTART)

    async def read(self) -> None:
        """Takes in what the client sends, until there is no connection."""
        while not self.parted.done():
            try:
                message = await self._receive()
            except Exception:  # the proxy itself is gone
                self._part(by_rule=False)
                return
            if message["type"] == "websocket.disconnect":
                self._part(by_rule=self._closed or message.get("code") in _GOODBYES)
                return
            self._unread_bytes += _size(message)
            if self._unread_bytes > self._most_unread_bytes:
                self._refuse()
                return
            self._unread.append(message)
            self._news.set()

    async def receive(self) -> Message:
        """The next message; the connection's end behind the last one, as often as it is asked for."""
        while not self._unread:
            if self.parted.done():
                return _LOST
            self._news.clear()
            await self._news.wait()
        message = self._unread.popleft()
        self._unread_bytes -= _size(message)
        return message

    async def send(self, message: Message) -> None:
        """Raises OSError where there is no connection any more."""
        if self.parted.done():
            raise OSError("the websocket is gone")
        self._accepted = self._accepted or message["type"] == "websocket.accept"
        await self._send(message)
        if message["type"] == "websocket.close":
            # Whether it arrives is not told: a client that did not hear the end is not waited for.
            self._closed = True
            self._part(by_rule=True)

    async def finish(self) -> None:
        """Waits until the client was told that it is over."""
        if self._closing is not None:
            await self._closing

    def _refuse(self) -> None:
        message = f"more than {self._most_unread_bytes} bytes wait to be read: send no faster than they are"
        error = Error(code=ErrorCode.BUFFER_FULL, message=message)
        self._unread.clear()
        self._part(by_rule=True)
        self._close(CLOSE_CODES[error.code], error)

    def _part(self, *, by_rule: bool) -> None:
        if not self.parted.done():
            self.parted.set_result(by_rule)
            self._news.set()

    def _close(self, code: int, error: Error | None = None) -> None:
        if not self._closed and self._accepted:
            self._closed = True
            self._closing = asyncio.create_task(self._say_goodbye(code, error), name="voicewire-goodbye")

    async def _say_goodbye(self, code: int, error: Error | None) -> None:
        with suppress(Exception):  # it may be gone already
            if error is not None:
                worded = self.extension.get("worded", Error.model_dump_json)
                await self._send({"type": "websocket.send", "text": worded(error)})
            await self._send({"type": "websocket.close", "code": code, "reason": error.code if error else ""})


def _size(message: Mapping[str, Any]) -> int:
    """In bytes, or nearly so; a message has a price besides, so that empty ones are bounded too."""
    return 256 + len(message.get("bytes") or message.get("text") or "")
