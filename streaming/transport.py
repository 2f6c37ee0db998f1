"""The server's side of a socket: uvicorn's protocols, with the bounds that a server among strangers needs besides.

What is added: a request must be whole in time; a refused message is told about before the close, and what is
still on its way is read and thrown away, so that the close is not lost to a reset; fragments and pongs are
bounded; and a connection can be dropped where its client reads nothing, for which ASGI has no word.
"""

import asyncio
from collections.abc import Callable
from typing import ClassVar, cast

import h11
from starlette.websockets import WebSocket
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request

from voicewire.streaming.messages import CLOSE_CODES, Error, ErrorCode
from voicewire.streaming.settings import ServerSettings

# Close codes by which a client says goodbye: done, going away, and no code at all.
_GOODBYES = (1000, 1001, 1005)

# In a websocket's scope: what follows here. proxied.py gives the same where another server has the sockets.
EXTENSION = "voicewire.abort"

# The rest of a request is still to come: its head, or its body.
_UNFINISHED = (h11.IDLE, h11.SEND_BODY)

# A message may come in so many pieces; empty ones would otherwise cost memory without ever reaching its bound.
_MOST_FRAGMENTS = 4096
# Bytes that may wait for a client that sends pings and reads no pongs.
_MOST_UNREAD_BYTES = 256 * 1024


def _ignore() -> None:
    pass


def abort(websocket: WebSocket) -> None:
    """Drops the connection without a closing handshake; what was not sent yet is thrown away."""
    extension = websocket.scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        cast(Callable[[], None], extension["abort"])()


async def parted(websocket: WebSocket) -> bool:
    """Waits until the connection is gone; whether it ended by rule: the client said goodbye, or broke the rules.

    A close with any other code is that of a client that gives up a connection, and not its session.
    """
    extension = websocket.scope.get("extensions", {}).get(EXTENSION)
    return extension is None or await cast(asyncio.Future[bool], extension["parted"])


def word_errors(websocket: WebSocket, worded: Callable[[Error], str]) -> None:
    """Errors that the transport itself finds are told in these words: those of the connection's protocol."""
    extension = websocket.scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        extension["worded"] = worded


def on_ping(websocket: WebSocket, heard: Callable[[], None]) -> None:
    """Calls `heard` at every ping of the client's."""
    extension = websocket.scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        extension["pinged"] = heard


class WebSocketTransport(WebSocketsSansIOProtocol):
    """One websocket.

    Attributes:
        farewell_s: seconds for a closing handshake before the connection is dropped.
        message_bytes: for what a client is told; uvicorn's `ws_max_size` is what bounds.
    """

    farewell_s: ClassVar[float] = 5.0
    message_bytes: ClassVar[int] = 0
    _refused = False
    _parted = False
    _gone: asyncio.Future[bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Its debug log has the messages in it.
        self.conn.debug = False

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # A request that is no websocket handshake has been answered already and has no scope.
        scope = getattr(self, "scope", None)
        if scope is not None:
            self._gone = self.loop.create_future()
            scope["extensions"][EXTENSION] = {"abort": self.transport.abort, "parted": self._gone}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(self._parted)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def handle_cont(self, event: Frame) -> None:
        if self._refused:
            return
        if len(self.frames) >= _MOST_FRAGMENTS:
            self.conn.fail(CLOSE_CODES[ErrorCode.MESSAGE_TOO_BIG], "too many fragments")
            self._refuse(ErrorCode.MESSAGE_TOO_BIG, f"a message of more than {_MOST_FRAGMENTS} fragments")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        if self.transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
            self.transport.abort()
            return
        super().handle_ping()
        cast(Callable[[], None], self.scope["extensions"][EXTENSION].get("pinged", _ignore))()

    def handle_close(self, event: Frame) -> None:
        # The answer to a close of ours has our code.
        answered, code = self.close_sent, self.conn.close_rcvd.code if self.conn.close_rcvd else None
        self._parted = answered or code in _GOODBYES
        super().handle_close(event)
        self._drop_later()

    def handle_parser_exception(self) -> None:
        self._parted = True
        if isinstance(self.conn.parser_exc, PayloadTooBig):
            self._refuse(ErrorCode.MESSAGE_TOO_BIG, f"a message of more than {self.message_bytes} bytes")
        elif self.conn.parser_exc is None:
            self._refuse(ErrorCode.BAD_JSON, "a text message is not valid UTF-8")
        else:
            super().handle_parser_exception()
            self._drop_later()

    async def send(self, message: ASGISendEvent) -> None:
        await self.writable.wait()
        if self._refused:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # A refusal is an answer too: uvicorn would log a handshake that was forgotten.
            self.handshake_complete = True

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._drop_later()

    def _refuse(self, code: ErrorCode, message: str) -> None:
        """Says what is wrong, closes, and reads on without keeping anything until the client has hung up."""
        self._refused = self._parted = True
        self.frames = []
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": CLOSE_CODES[code], "reason": code.value}
        )
        worded = cast(
            Callable[[Error], str], self.scope["extensions"][EXTENSION].get("worded", Error.model_dump_json)
        )
        error = worded(Error(code=code, message=message)).encode()
        close = Close(CLOSE_CODES[code], code.value).serialize()
        # In place of the close frame that lies ready, which has another reason.
        self.conn.data_to_send()
        for opcode, data in ((Opcode.TEXT, error), (Opcode.CLOSE, close)):
            self.transport.write(Frame(opcode, data).serialize(mask=False, extensions=self.conn.extensions))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self._drop_later()

    def _drop_later(self) -> asyncio.TimerHandle:
        """uvicorn closes politely, which waits for ever for a client that does not read the last bytes."""
        return self.loop.call_later(self.farewell_s, self.transport.abort)


class HttpTransport(H11Protocol):
    """One HTTP connection.

    Attributes:
        handshake_s: seconds for a request's head.
        upload_s: seconds for its body.
    """

    handshake_s: ClassVar[float] = 10.0
    upload_s: ClassVar[float] = 120.0
    _deadline: asyncio.TimerHandle | None = None
    _upgraded = False
    _body_due = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        super().handle_websocket_upgrade(event)
        # Another protocol has the connection from here on.
        self._upgraded = True
        self._relax()

    def _watch(self) -> None:
        body_due = self.conn.their_state is h11.SEND_BODY
        if self._upgraded or body_due is not self._body_due or self.conn.their_state not in _UNFINISHED:
            self._relax()
        self._body_due = body_due
        if self._deadline is None and not self._upgraded and self.conn.their_state in _UNFINISHED:
            within_s = self.upload_s if body_due else self.handshake_s
            self._deadline = self.loop.call_later(within_s, self.transport.abort)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def transports(settings: ServerSettings) -> tuple[type[HttpTransport], type[WebSocketTransport]]:
    """The two protocols with a server's own limits; uvicorn takes classes, not arguments for them."""

    class Http(HttpTransport):
        handshake_s = settings.handshake_s
        upload_s = settings.upload_s

    class Web(WebSocketTransport):
        farewell_s = settings.farewell_s
        message_bytes = settings.message_bytes

    return Http, Web
