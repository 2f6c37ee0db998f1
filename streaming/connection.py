"""One websocket of the native protocol: carries messages between a client and its session, and nothing else."""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from voicewire.streaming.live import LiveSession


class Connection:
    """A client's websocket and its session, which has a seat already."""

    def __init__(self, websocket: WebSocket, live: LiveSession) -> None:
        self._websocket = websocket
        self._live = live
        self._gone = False

    async def run(self) -> None:
        """Serves the client until the connection is over."""
        reader: asyncio.Task[None] | None = None
        try:
            await self._websocket.accept()
            reader = asyncio.create_task(self._read(), name="voicewire-read")
            await self._write()
        except WebSocketDisconnect:
            pass
        finally:
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        """Feeds the session, no faster than it takes."""
        while not self._live.closed:
            await self._live.hearing()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
                self._live.client_left()
                return
            data = message.get("bytes")
            if data is not None:
                self._live.put_bytes(data)
            else:
                self._live.put_text(message["text"])
            # A client with thousands of small messages in one packet is not to keep the loop from the others.
            await asyncio.sleep(0)

    async def _write(self) -> None:
        """Sends what the session has to say, and its close. Raises WebSocketDisconnect where nobody is there."""
        while (message := await self._live.take()) is not None:
            if isinstance(message, bytes):
                await self._websocket.send_bytes(message)
            else:
                await self._websocket.send_text(message.model_dump_json())
        if not self._gone:
            await self._websocket.close(self._live.close_code, self._live.ended_with)
