"""One websocket of the native protocol: carries messages between a client and its session, and nothing else."""

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect

from voicewire.streaming.live import LiveSession
from voicewire.streaming.transport import abort, parted


class Connection:
    """A client's websocket, accepted, and its session, which has a seat already."""

    def __init__(self, websocket: WebSocket, live: LiveSession) -> None:
        self._websocket = websocket
        self._live = live
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._gone = False
        self._evicted = False

    async def run(self) -> None:
        """Serves the client until the connection is over, or another one has taken its place."""
        reader = asyncio.create_task(self._read(), name="voicewire-read")
        writer = asyncio.create_task(self._write(), name="voicewire-write")
        self._tasks = (reader, writer)
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if not self._gone:
                await asyncio.wait([writer])
            broke = self._live.resumable and not await parted(self._websocket)
            if broke and not self._evicted:
                self._live.lose_connection()
        finally:
            for task in self._tasks:
                task.cancel()
            outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
            if not self._evicted and not self._live.abandoned:
                self._live.end_connection()
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
                raise outcome

    def evict(self) -> None:
        """Another connection serves the session now: nothing of this one has an effect any more."""
        self._evicted = True
        for task in self._tasks:
            task.cancel()
        abort(self._websocket)

    async def _read(self) -> None:
        """Feeds the session, no faster than it takes."""
        while not self._live.closed:
            await self._live.hearing()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
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
        await self._websocket.close(self._live.close_code, self._live.ended_with)
