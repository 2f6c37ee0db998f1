"""The messages of one session over a websocket, and over the next one where that breaks.

What was sent is kept until the server says that it has come, and both sides count messages, so that a new
connection goes on where the old one stopped: nothing is lost, and nothing comes twice.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from voicewire.client.errors import ClientError, ConnectionFailed, ConnectionLost, ServerError
from voicewire.client.wire import parsed
from voicewire.streaming.messages import (
    Ack,
    AckMessage,
    Done,
    Error,
    ErrorCode,
    Resume,
    Resumed,
    ServerMessage,
    Ticket,
)

logger = logging.getLogger(__name__)

Reopen: TypeAlias = Callable[[Resume, float], Awaitable[tuple[ClientConnection, Resumed]]]
"""Connects anew within so many seconds. Raises ConnectionFailed where it may work later, ServerError where not."""

# Sent and not yet known to have come: at 16 kHz four minutes of samples, of which a server takes half a minute.
MOST_KEPT_BYTES = 8 * 1024 * 1024
# The server keeps what it was not told of.
MESSAGES_PER_ACK = 32
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 2.0
# A server that is full or has just been started may let the client in a little later.
PASSING = frozenset({ErrorCode.CAPACITY, ErrorCode.INTERNAL, ErrorCode.HANDSHAKE_TIMEOUT})


class Link:
    """A session's messages over one websocket, and no further than that.

    Attributes:
        connected: whether there is a connection now.
    """

    connected = True

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, data: str | bytes) -> None:
        """Raises ConnectionLost."""
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def messages(self) -> AsyncIterator[ServerMessage | bytes]:
        """What the server says, in order; ends with the connection. Raises ConnectionLost, ProtocolError."""
        try:
            async for data in self._socket:
                message = parsed(data) if isinstance(data, str) else data
                if message is not None:
                    yield message
        except ConnectionClosed as error:
            raise _lost(error) from error
        raise ConnectionLost("the server closed the connection before it had said done")

    async def close(self) -> None:
        """Closes the connection; what was not read is lost."""
        await self._socket.close()


class ResumableLink(Link):
    """A session's messages over as many websockets as it takes.

    Args:
        socket: the first one, behind `ready`.
        ticket: what the server gave to come back with.
        reopen: makes another one.
    """

    def __init__(self, socket: ClientConnection, ticket: Ticket, reopen: Reopen) -> None:
        super().__init__(socket)
        self._ticket = ticket
        self._reopen = reopen
        # Of the messages sent in the session: all, those known to have come, those sent over this connection.
        self._put = self._come = self._sent = 0
        self._kept: deque[str | bytes] = deque()
        self._kept_bytes = 0
        self._room = asyncio.Event()
        self._lock = asyncio.Lock()
        self._pumping: asyncio.Task[None] | None = None
        self._received = self._acked = 0
        self._over = False

    async def send(self, data: str | bytes) -> None:
        """Sends now or when there is a connection again; waits where too much is kept. Raises ConnectionLost."""
        while self._kept_bytes > MOST_KEPT_BYTES and not self._over:
            self._room.clear()
            await self._room.wait()
        if self._over:
            raise ConnectionLost("the session is over")
        self._kept.append(data)
        self._kept_bytes += len(data)
        self._put += 1
        # Who gives up waiting must not leave a message half sent.
        await asyncio.shield(self._pump())

    async def messages(self) -> AsyncIterator[ServerMessage | bytes]:
        """What the server says, each message once, over all connections, and a `Resumed` for each new one."""
        try:
            while True:
                try:
                    async for message in super().messages():
                        if isinstance(message, AckMessage):
                            self._forget(message.received)
                            continue
                        self._received += 1
                        self._over = isinstance(message, Done | Error)
                        await self._acknowledge()
                        yield message
                except ConnectionLost as error:
                    if self._over:
                        raise
                    yield await self._come_back(error)
        finally:
            self._over = True
            self._room.set()

    async def close(self) -> None:
        self._over = True
        if self._pumping is not None:
            self._pumping.cancel()
        await super().close()

    async def _pump(self) -> None:
        """Sends what was not sent yet, as far as the connection goes; the reader is who sees its end."""
        async with self._lock:
            while self._sent < self._put and self.connected:
                data = self._kept[self._sent - self._come]
                # An answer may be quicker than the return from here.
                self._sent += 1
                try:
                    await self._socket.send(data)
                except ConnectionClosed:
                    return

    def _forget(self, come: int) -> None:
        """So many of the messages sent have come."""
        while self._come < min(come, self._sent):
            self._kept_bytes -= len(self._kept.popleft())
            self._come += 1
        self._room.set()

    async def _acknowledge(self) -> None:
        if self._received - self._acked >= MESSAGES_PER_ACK:
            self._acked = self._received
            with suppress(ConnectionClosed):
                await self._socket.send(Ack(received=self._received).model_dump_json())

    async def _come_back(self, error: ConnectionLost) -> Resumed:
        """Connects anew while the server waits. Raises ConnectionLost with the first cause, ServerError."""
        self.connected = False
        logger.warning("%s: connecting again", error)
        # Nothing more is to go out over the old one, nor hang on it; and no close, which would be a goodbye.
        self._socket.transport.abort()
        deadline = time.monotonic() + self._ticket.window_s
        delay_s = FIRST_DELAY_S
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                request = Resume(type="resume", token=self._ticket.token, received=self._received)
                socket, resumed = await self._reopen(request, left_s)
            except ClientError as failure:
                if isinstance(failure, ServerError) and failure.code not in PASSING:
                    raise ConnectionLost(f"{error}; and it could not be resumed: {failure}") from failure
                if not isinstance(failure, ServerError | ConnectionFailed):
                    raise
                # With some chance in it, so that the clients of a server do not all come at once.
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            else:
                await self._go_on(socket, resumed)
                return resumed
        raise error

    async def _go_on(self, socket: ClientConnection, resumed: Resumed) -> None:
        self._socket = socket
        async with self._lock:
            self._forget(resumed.received)
            self._sent = self._come
            self.connected = True
        logger.warning("connected again: nothing was lost")
        # Not here: what comes is to be read meanwhile.
        self._pumping = asyncio.create_task(self._pump(), name="voicewire-resend")


def _lost(error: ConnectionClosed) -> ConnectionLost:
    return ConnectionLost(f"the connection to the server broke: {error}")
