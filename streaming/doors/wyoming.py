"""Wyoming's TCP port: connections that may ask without a session, and have one for each utterance."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable

from voicewire.streaming.errors import SessionError
from voicewire.streaming.live import LiveSession
from voicewire.streaming.lobby import Lobby
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import Error, Start
from voicewire.streaming.protocols.facade import Reply, Step
from voicewire.streaming.protocols.wyoming import Wyoming

log = get_logger(__name__)

# Those who only ask need no slot; so many connections may there be besides.
_MOST_ASKING = 64
_READ_BYTES = 64 * 1024
# What is offered. The shipped adapter knows English alone.
_LANGUAGES = ("en",)


class WyomingDoor:
    """Serves one listening socket in the running event loop.

    Args:
        lobby: gives sessions their seats.
    """

    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._serve, sock=listener)

    def close(self) -> None:
        """Lets nobody in any more; those who are in the middle of an utterance still hear its end."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.end_when_silent()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._lobby, reader, writer)
        self._connections.add(connection)
        try:
            if len(self._connections) <= self._lobby.engine.capacity + _MOST_ASKING:
                await connection.run()
        except ConnectionError:
            pass
        except Exception:
            log.exception("wyoming_failed")
        finally:
            self._connections.discard(connection)
            writer.transport.abort()


class _Connection:
    """One client."""

    def __init__(self, lobby: Lobby, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        settings = lobby.settings
        self._lobby = lobby
        self._reader = reader
        self._writer = writer
        self._facade = Wyoming(lobby.engine.model_name, _LANGUAGES, settings.message_bytes)
        self._live: LiveSession | None = None
        self._speaker: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves the client until it hangs up, is silent for too long, or sends what is no event."""
        try:
            while data := await self._read():
                await self._carry_out(self._facade.receive_bytes(data))
        except SessionError as error:
            await self._finished(error)
            await self._carry_out(self._facade.tell(Error(code=error.code, message=str(error))))
        finally:
            if self._live is not None:
                self._live.client_left()
            await self._finished()
            with contextlib.suppress(ConnectionError):
                self._writer.close()
                await asyncio.wait_for(self._writer.wait_closed(), self._lobby.settings.farewell_s)

    def end_when_silent(self) -> None:
        """The server stops."""
        if self._live is None:
            self._writer.close()

    async def _read(self) -> bytes:
        """What comes next, no faster than the session takes it; nothing where the connection is over."""
        while True:
            if self._live is not None:
                await self._live.hearing()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lobby.settings.idle_s):
                    return await self._reader.read(_READ_BYTES)
            # A session has a patience of its own.
            if self._live is None:
                return b""

    async def _carry_out(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Reply):
                assert isinstance(step.data, bytes)
                self._writer.write(step.data)
                await self._writer.drain()
            elif isinstance(step, Start):
                # The utterance before may still be on its way out.
                await self._finished()
                self._begin(step)
            elif self._live is None:
                # What follows an error in the middle of an utterance belongs to nothing.
                continue
            elif isinstance(step, bytes):
                self._live.put_bytes(step)
            else:
                self._live.put(step)

    def _begin(self, start: Start) -> None:
        """Raises SessionError where there is no seat."""
        live = self._lobby.new_session(drop=self._writer.transport.abort)
        seat = contextlib.ExitStack()
        seat.enter_context(self._lobby.seated(live, {}))
        self._live = live
        self._speaker = asyncio.create_task(self._speak(live, seat), name="voicewire-wyoming")
        live.put(start)

    async def _speak(self, live: LiveSession, seat: contextlib.ExitStack) -> None:
        """Tells what one session says, until its end."""
        with seat, contextlib.suppress(ConnectionError):
            while (message := await live.take()) is not None:
                if not isinstance(message, bytes):
                    await self._carry_out(self._facade.tell(message))
        self._live = None

    async def _finished(self, error: SessionError | None = None) -> None:
        """Waits until the present session is over; with an error it is over at once."""
        if self._live is not None and error is not None:
            self._live.client_left()
        if self._speaker is not None:
            await asyncio.gather(self._speaker, return_exceptions=True)
            self._speaker = None
