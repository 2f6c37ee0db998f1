"""One websocket connection: the asyncio shell around a Session. It knows sockets and time, and no protocol."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect

from voicewire.codecs.codec import Codec
from voicewire.streaming.commands import Command, Report
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.patience import SessionState
from voicewire.streaming.seat import Seat
from voicewire.streaming.session import Session
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.transport import abort

log = get_logger(__name__)


class Connection:
    """A client's websocket, its session, and its seat in the engine."""

    def __init__(
        self, websocket: WebSocket, settings: ServerSettings, model: str, codecs: Mapping[str, Codec]
    ) -> None:
        self._websocket = websocket
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._session = Session(settings, model, secrets.token_hex(8), self._loop.time(), codecs)
        self._seat: Seat | None = None
        self._news = asyncio.Event()
        self._may_read = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._farewell: asyncio.TimerHandle | None = None
        self._gone = False
        self._log = log.bind(session=self._session.session_id)

    def take_report(self, report: Report) -> None:
        """What the engine reports of this session."""
        if self._session.state is not SessionState.CLOSED:
            self._take(partial(self._session.receive_report, report, self._loop.time()))

    def shut_down(self) -> None:
        """Asks the session to finish what it has, within the settings' `shutdown_s`."""
        self._take(partial(self._session.shut_down, self._loop.time(), self._settings.shutdown_s))

    async def run(self, seat: Seat) -> None:
        """Serves the client until the connection is over, and gives the seat back."""
        self._seat = seat
        began = self._loop.time()
        reader: asyncio.Task[None] | None = None
        try:
            await self._websocket.accept()
            self._log.info("session_began")
            self._carry_out(())
            reader = asyncio.create_task(self._read(), name="voicewire-read")
            await self._write()
        except WebSocketDisconnect:
            pass
        finally:
            self._session.client_left()
            seat.give_back()
            for timer in (self._timer, self._farewell):
                if timer is not None:
                    timer.cancel()
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
            self._log.info(
                "session_ended",
                code=self._session.ended_with or ("done" if self._session.done else "client_left"),
                seconds=round(self._loop.time() - began, 2),
                audio_s=round(self._session.received_s, 2),
                words=self._session.words,
            )

    async def _read(self) -> None:
        """Feeds the session, no faster than it takes."""
        while self._session.state is not SessionState.CLOSED:
            await self._may_read.wait()
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
                self._carry_out(self._session.client_left())
                return
            now = self._loop.time()
            data = message.get("bytes")
            if data is not None:
                self._take(partial(self._session.receive_bytes, data, now))
            else:
                self._take(partial(self._session.receive_text, message["text"], now))
            # A client with thousands of small messages in one packet is not to keep the loop from the others.
            await asyncio.sleep(0)

    async def _write(self) -> None:
        """Sends what the session has to say, and its close. Raises WebSocketDisconnect where nobody is there."""
        while True:
            self._news.clear()
            while (message := self._session.take()) is not None:
                if isinstance(message, bytes):
                    await self._websocket.send_bytes(message)
                else:
                    await self._websocket.send_text(message.model_dump_json())
            if self._session.state is SessionState.CLOSED:
                break
            await self._news.wait()
        if not self._gone:
            await self._websocket.close(self._session.close_code, self._session.ended_with)

    def _take(self, step: Callable[[], list[Command]]) -> None:
        """Lets the session take something in. A fault of ours ends this session, not the server."""
        try:
            commands = step()
        except Exception:
            self._log.exception("session_failed")
            commands = self._session.fail(ErrorCode.INTERNAL, "the server failed: open another session")
        self._carry_out(commands)

    def _carry_out(self, commands: Iterable[Command]) -> None:
        """Does what follows from anything that the session has taken in."""
        if self._seat is not None:
            for command in commands:
                self._seat.send(command)
        self._news.set()
        if self._session.accepts_input:
            self._may_read.set()
        else:
            self._may_read.clear()
        if self._session.state is SessionState.CLOSED:
            # The slot is free already; the client has this long to read its last messages.
            if self._farewell is None:
                self._farewell = self._loop.call_later(self._settings.farewell_s, abort, self._websocket)
            return
        deadline = self._session.next_deadline()
        if deadline is not None and (self._timer is None or deadline < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._take(partial(self._session.tick, self._loop.time()))
