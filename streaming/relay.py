"""One websocket of another protocol: carries what its facade makes of it between client and session."""

import asyncio
from collections.abc import Iterable, Mapping

from starlette.websockets import WebSocket, WebSocketDisconnect

from voicewire.streaming.errors import SessionError
from voicewire.streaming.keys import chosen_subprotocol
from voicewire.streaming.live import LiveSession
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import Error, ErrorCode, KeepAlive, ServerMessage, Start
from voicewire.streaming.protocols.facade import Facade, Reply, Step
from voicewire.streaming.transport import on_ping, word_errors

log = get_logger(__name__)

_FAULT = "the server failed: connect again"


class Relay:
    """A client's websocket, the facade of its protocol, and a session that has a seat already.

    Args:
        headers: for the answer to the handshake.
        pings_keep_alive: a client's ping is a sign of life, since its protocol has no other for silence.
    """

    def __init__(
        self,
        websocket: WebSocket,
        live: LiveSession,
        facade: Facade,
        headers: Mapping[str, str] | None = None,
        *,
        pings_keep_alive: bool = False,
    ) -> None:
        self._websocket = websocket
        self._live = live
        self._facade = facade
        self._headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        # What the facade makes of one message is carried out before it is given the next one.
        self._turn = asyncio.Lock()
        self._gone = False
        self._pings_keep_alive = pings_keep_alive
        self._started = False

    async def run(self) -> None:
        """Serves the client until the connection is over.

        Raises SessionError, with the handshake unanswered, where the session cannot begin as the client wants it.
        """
        before: list[Reply] = []
        opening: ServerMessage | bytes | None = None
        for step in self._facade.begin():
            if isinstance(step, Reply):
                before.append(step)
            elif isinstance(step, Start):
                # Clients of these protocols take a refused handshake for final, and a late error for bad luck.
                self._live.put(step)
                self._started = True
                opening = await self._live.take()
                if isinstance(opening, Error):
                    raise SessionError(opening.code, opening.message)
        reader: asyncio.Task[None] | None = None
        try:
            await self._websocket.accept(chosen_subprotocol(self._websocket.headers), self._headers)
            word_errors(self._websocket, self._worded)
            if self._pings_keep_alive:
                on_ping(self._websocket, self._pinged)
            await self._carry_out(before)
            if opening is not None and not isinstance(opening, bytes):
                await self._carry_out(self._facade.tell(opening))
            reader = asyncio.create_task(self._read(), name="voicewire-relay")
            await self._write()
        except WebSocketDisconnect:
            pass
        finally:
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        """Feeds the facade, no faster than the session takes."""
        try:
            while not self._live.closed:
                await self._live.hearing()
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect
                data = message.get("bytes")
                async with self._turn:
                    if data is not None:
                        await self._carry_out(self._facade.receive_bytes(data))
                    else:
                        await self._carry_out(self._facade.receive_text(message["text"]))
                # A client with thousands of small messages in one packet is not to keep the loop from the others.
                await asyncio.sleep(0)
        except WebSocketDisconnect:
            self._gone = True
            self._live.client_left()

    async def _write(self) -> None:
        """Tells what the session says, and closes. Raises WebSocketDisconnect where nobody is there."""
        while (message := await self._live.take()) is not None:
            if not isinstance(message, bytes):
                async with self._turn:
                    await self._carry_out(self._facade.tell(message))
        if not self._gone:
            await self._websocket.close(self._live.close_code, self._live.ended_with)

    async def _carry_out(self, steps: Iterable[Step]) -> None:
        """Carries the steps out in order. What goes wrong in the facade ends this session alone."""
        try:
            for step in steps:
                if isinstance(step, Reply):
                    await self._send(step.data)
                elif isinstance(step, bytes):
                    self._live.put_bytes(step)
                else:
                    self._started = self._started or isinstance(step, Start)
                    self._live.put(step)
        except WebSocketDisconnect:
            raise
        except SessionError as error:
            self._live.fail(error.code, str(error))
        except Exception:
            log.exception("facade_failed", session=self._live.session_id)
            self._live.fail(ErrorCode.INTERNAL, _FAULT)

    def _pinged(self) -> None:
        if self._started and not self._live.closed:
            self._live.put(KeepAlive())

    async def _send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            await self._websocket.send_text(data)
        else:
            await self._websocket.send_bytes(data)

    def _worded(self, error: Error) -> str:
        replies = (step.data for step in self._facade.tell(error) if isinstance(step, Reply))
        return next((text for text in replies if isinstance(text, str)), "")
