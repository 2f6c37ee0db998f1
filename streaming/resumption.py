"""Clients that come back: which sessions may be gone on with, and the connection that serves each of them now.

A client comes back to `/v1/stream?resume`. It needs no seat, for its session has kept one; so a server that is
full lets it in all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect

from voicewire.streaming.connection import Connection
from voicewire.streaming.errors import SessionError
from voicewire.streaming.keys import chosen_subprotocol
from voicewire.streaming.live import LiveSession
from voicewire.streaming.messages import CLOSE_CODES, Error, ErrorCode, Resume
from voicewire.streaming.parsing import parse
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.transport import abort


class Resumption:
    """The sessions of the native protocol that are being served or waited for.

    Args:
        settings: how many sessions there may be, and how long a client may take to say which one is its own.
        fetch: called with the token of a session that is not here; has it come here, if it is anywhere. May raise
            SessionError.
    """

    def __init__(self, settings: ServerSettings, fetch: Callable[[str], Awaitable[None]]) -> None:
        self._settings = settings
        self._fetch = fetch
        self._served: dict[str, tuple[LiveSession, Connection | None]] = {}
        self._arriving = 0

    @property
    def crowded(self) -> bool:
        """Whether so many have come back and not yet said to what that nobody else is let in."""
        return self._arriving >= self._settings.most_sessions

    def session(self, token: str) -> LiveSession | None:
        """The session with this token, where it is here."""
        return self._served.get(token, (None, None))[0]

    async def serve(self, websocket: WebSocket, live: LiveSession) -> None:
        """Serves a new session until it is over, on this connection and on those that take over from it."""
        try:
            await websocket.accept(chosen_subprotocol(websocket.headers))
            await self._connect(websocket, live)
            # A session that is over has no seat, so seats do not bound how many of them wait to be heard out.
            if live.abandoned and live.closed and len(self._served) > 2 * self._settings.most_sessions:
                live.end_connection()
            await live.wait_over()
        except WebSocketDisconnect:
            pass
        finally:
            self._served.pop(live.token, None)

    async def await_return(self, live: LiveSession) -> None:
        """Waits for the client of a session that another process has begun, and serves it until it is over."""
        self._served[live.token] = (live, None)
        try:
            await live.wait_over()
        finally:
            self._served.pop(live.token, None)

    async def resume(self, websocket: WebSocket) -> None:
        """Goes on with a session, over a connection that has no seat."""
        await websocket.accept(chosen_subprotocol(websocket.headers))
        self._arriving += 1
        try:
            live = await self._arrived(websocket)
        except SessionError as error:
            await websocket.send_text(Error(code=error.code, message=str(error)).model_dump_json())
            await websocket.close(CLOSE_CODES[error.code], error.code)
            return
        except WebSocketDisconnect:
            return
        finally:
            self._arriving -= 1
        await self._connect(websocket, live)

    async def _connect(self, websocket: WebSocket, live: LiveSession) -> None:
        connection = Connection(websocket, live)
        self._served[live.token] = (live, connection)
        await connection.run()

    async def _arrived(self, websocket: WebSocket) -> LiveSession:
        """The session that the client names, ready to go on. Raises SessionError."""
        try:
            async with asyncio.timeout(self._settings.handshake_s):
                message = await websocket.receive()
        except TimeoutError as error:
            raise SessionError(
                ErrorCode.HANDSHAKE_TIMEOUT, f"no `resume` within {self._settings.handshake_s:g} s"
            ) from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        said = parse(message.get("text") or "{}", self._settings.message_bytes)
        if not isinstance(said, Resume):
            raise SessionError(ErrorCode.START_EXPECTED, f"expected `resume` here, and got `{said.type}`")
        if said.token not in self._served:
            await self._fetch(said.token)
        live, connection = self._served.get(said.token, (None, None))
        if live is None:
            raise SessionError(ErrorCode.RESUME_FAILED, "there is no such session any more: open another")
        live.resume(said.received, partial(abort, websocket))
        if connection is not None:
            connection.evict()
        return live
