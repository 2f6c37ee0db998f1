"""A session at work: the asyncio shell around a Session, with its seat, its timers and its log."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from voicewire.codecs.codec import Codec
from voicewire.streaming.allowance import Allowance
from voicewire.streaming.commands import Command, Eased, Parked, Report, StreamState
from voicewire.streaming.deck import Deck
from voicewire.streaming.handover import Parcel
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ClientMessage, ErrorCode, KeepAlive, ServerMessage
from voicewire.streaming.meter import SessionMeter
from voicewire.streaming.metrics import CLIENT_LEFT, DONE, HANDED_OVER, Metrics
from voicewire.streaming.patience import SessionState
from voicewire.streaming.portable import PortableSession
from voicewire.streaming.porter import Visitor
from voicewire.streaming.saved_session import SavedSession
from voicewire.streaming.seat import Seat
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.tape import Tape
from voicewire.streaming.traces import SessionTrace, Traces

log = get_logger(__name__)

# A client that is held back over its key's limit is looked at so often, in seconds.
_LONGEST_NAP_S = 0.5


class LiveSession:
    """One session in the event loop that made it.

    Args:
        settings: limits, and what holds where `start` does not say.
        model: the model's name.
        codecs: those that are loaded, by name.
        drop: called where a client does not read its last messages in time; it has to end the connection.
        metrics: where it is measured.
        deck: where it is recorded, if it is.
        traces: where its stages are traced, if they are.

    Attributes:
        token: who has it may go on with the session over another connection.
    """

    def __init__(
        self,
        settings: ServerSettings,
        model: str,
        codecs: Mapping[str, Codec],
        drop: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
        deck: Deck | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._settings = settings
        self._model, self._codecs = model, codecs
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.token = secrets.token_urlsafe(16)
        self._session = PortableSession(
            settings, model, secrets.token_hex(8), self._began, codecs, self.token
        )
        self._drop = drop
        self._connected = True
        self._over = asyncio.Event()
        self._seat: Seat | None = None
        self._allowance: Allowance | None = None
        self._paid_s = 0.0
        self._news = asyncio.Event()
        self._may_read = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._farewell: asyncio.TimerHandle | None = None
        self._meter = SessionMeter(metrics or Metrics())
        self._deck = deck
        self._tape = Tape(None)
        self._traces = traces or Traces("")
        self._trace = SessionTrace(None, "")
        self._key: str | None = None
        self._keep: Callable[[Parcel], None] | None = None
        self._handed_over = False
        self._log = log.bind(session=self._session.session_id)

    @property
    def session_id(self) -> str:
        return self._session.session_id

    @property
    def closed(self) -> bool:
        """Whether nothing is taken in any more; the last messages may still be waiting."""
        return self._session.state is SessionState.CLOSED

    @property
    def resumable(self) -> bool:
        """Whether a client whose connection is lost is waited for."""
        return self._session.resumable

    @property
    def abandoned(self) -> bool:
        """Whether the connection is lost and the client may still come back."""
        return self._session.abandoned

    @property
    def buffered_s(self) -> float:
        """Seconds of audio received and not yet looked at."""
        return self._session.buffered_s

    @property
    def ended_with(self) -> ErrorCode | None:
        """The code of the error that ended it; None before, and after a proper end."""
        return self._session.ended_with

    @property
    def close_code(self) -> int:
        """The native websocket's close code, once the session is closed."""
        return self._session.close_code

    # ---- from its beginning to its end

    def begin(self, seat: Seat, visitor: Visitor | None = None) -> None:
        """The client is here, and has a seat; `visitor` says whose key it brought."""
        self._seat = seat
        if self._deck is not None:
            self._tape = self._deck.tape(self.session_id, self._loop.time)
        if visitor is not None:
            self._key, self._allowance = visitor.name, visitor.allowance
            self._log = self._log.bind(key=visitor.name)
        self._trace = self._traces.session(self.session_id)
        self._log.info("session_began")
        self._meter.began()
        self._carry_out(())

    def leave(self) -> None:
        """The connection is over: gives the seat back. What happens now is without effect."""
        self._session.client_left()
        if self._seat is not None:
            self._seat.give_back()
        for timer in (self._timer, self._farewell):
            if timer is not None:
                timer.cancel()
        left = HANDED_OVER if self._handed_over else CLIENT_LEFT
        code = self._session.ended_with or (DONE if self._session.done else left)
        seconds = self._loop.time() - self._began
        self._tape.end(code)
        self._trace.ended(code, self._session.received_s, self._session.words)
        self._meter.ended(code, seconds)
        self._log.info(
            "session_ended",
            code=code,
            seconds=round(seconds, 2),
            audio_s=round(self._session.received_s, 2),
            words=self._session.words,
        )

    def shut_down(self) -> None:
        """Asks the session to finish what it has, within the settings' `shutdown_s`."""
        if self.closed and not self._connected:
            self.end_connection()
        self._take_in(partial(self._session.shut_down, self._loop.time(), self._settings.shutdown_s))

    # ---- from one process to the next

    @property
    def portable(self) -> bool:
        """Whether another process can go on with it."""
        return self._session.portable and not self.leaving

    @property
    def leaving(self) -> bool:
        """Whether it is on its way to another process."""
        return self._keep is not None

    def hand_over(self, keep: Callable[[Parcel], None]) -> None:
        """Leaves for another process: takes nothing in any more, and calls `keep` when the stream has left."""
        self._keep = keep
        self._may_read.clear()
        if self._seat is not None:
            for command in self._session.pack():
                self._seat.send(command)

    def go_on(self, saved: SavedSession, snapshot: bytes, seat: Seat, visitor: Visitor | None) -> None:
        """Arrives from another process; the client is waited for. Raises SessionError."""
        now = self._loop.time()
        self.token = saved.token
        self._session = self._session.restore(self._settings, self._model, saved, now, self._codecs)
        self._log = log.bind(session=saved.session_id)
        self._connected = False
        self._deck = None  # a recording begins with its session
        self._meter.goes_on(self._session.received_s, saved.processed_samples)
        self._paid_s = self._session.received_s
        self.begin(seat, visitor)
        seat.send(self._session.reopening(snapshot, saved))

    def _parked(self, state: StreamState) -> None:
        """The stream has left. From here to the connection's end nothing more may be said to the client."""
        assert self._keep is not None
        saved = self._session.save(state, self._key, self._loop.time())
        try:
            self._keep(Parcel(saved, state.snapshot))
            self._handed_over = True
        except OSError as error:
            self._log.error("handover_failed", reason=str(error))
        self._drop()
        self.end_connection()

    # ---- from one connection to the next

    def lose_connection(self) -> None:
        """The connection broke; the client may come back, if it asked for that."""
        self._disconnect()
        if self.resumable:
            self._log.info("connection_lost")
        self._take_in(partial(self._session.connection_lost, self._loop.time()))

    def end_connection(self) -> None:
        """The client has heard all that it wants to hear."""
        self._disconnect()
        self.client_left()

    def resume(self, received: int, drop: Callable[[], None]) -> None:
        """Goes on over another connection, which `drop` ends, behind the messages that the client has received.

        Raises SessionError where that cannot be.
        """
        commands = self._session.resume(received, self._loop.time())
        self._tape.resumed(received)
        self._disconnect()
        self._connected, self._drop = True, drop
        self._log.info("session_resumed")
        self._carry_out(commands)

    async def wait_over(self) -> None:
        """Waits until there is no connection and none is waited for."""
        await self._over.wait()

    # ---- what goes in

    def take_report(self, report: Report) -> None:
        """What the engine reports of this session."""
        if self.closed:
            return
        if isinstance(report, Parked):
            self._parked(report.state)
        else:
            self._trace.told(report)
            self._meter.told(report, self._session.received_s, self._loop.time())
            if isinstance(report, Eased):
                self._tape.eased(report.rung, report.from_samples)
            self._take_in(partial(self._session.receive_report, report, self._loop.time()))

    def put(self, message: ClientMessage) -> None:
        """A message of the client's, read."""
        if self._keep is not None:
            return  # its effect would be lost; the client sends it again
        self._tape.heard(message)
        self._take_in(partial(self._session.receive_message, message, self._loop.time()))

    def put_text(self, text: str) -> None:
        """A message of the client's as it came."""
        if self._keep is not None:
            return
        self._tape.heard(text)
        self._take_in(partial(self._session.receive_text, text, self._loop.time()))

    def put_bytes(self, data: bytes) -> None:
        """Audio, or tokens of it."""
        if self._keep is not None:
            return
        self._tape.heard(data)
        self._take_in(partial(self._session.receive_bytes, data, self._loop.time()))

    def fail(self, code: ErrorCode, message: str) -> None:
        """Ends the session at once."""
        self._carry_out(self._session.fail(code, message))

    def client_left(self) -> None:
        """Nobody is there to hear the rest."""
        self._carry_out(self._session.client_left())

    async def hearing(self) -> None:
        """Waits until the session takes more in; a client is held back by not being read."""
        await self._may_read.wait()
        if self._allowance is not None:
            await self._keep_within(self._allowance)

    # ---- what comes out

    async def take(self) -> ServerMessage | bytes | None:
        """The next message for the client, in bytes a binary one; None when the last one has been taken."""
        while True:
            self._news.clear()
            message = self._session.take()
            if message is not None:
                self._tape.told(message)
            if message is not None or self.closed:
                return message
            await self._news.wait()

    # ---- inside

    async def _keep_within(self, allowance: Allowance) -> None:
        """Waits until the client's key may send more; what came since the last time is paid first."""
        received_s = self._session.received_s
        allowance.spend(received_s - self._paid_s)
        self._paid_s = received_s
        while (wait_s := allowance.wait_s()) > 0 and not self.closed:
            await asyncio.sleep(min(wait_s, _LONGEST_NAP_S))
            # It is we who do not listen: the client is not idle.
            self.put(KeepAlive())

    def _take_in(self, step: Callable[[], list[Command]]) -> None:
        """Lets the session take something in. A fault of ours ends this session, not the server."""
        try:
            commands = step()
        except Exception:
            self._log.exception("session_failed")
            commands = self._session.fail(ErrorCode.INTERNAL, "the server failed: open another session")
        self._carry_out(commands)

    def _carry_out(self, commands: Sequence[Command]) -> None:
        """Does what follows from anything that the session has taken in."""
        self._trace.asked(commands)
        self._meter.asked(commands, self._session.received_s, self._loop.time())
        if self._seat is not None:
            for command in commands:
                self._seat.send(command)
        self._news.set()
        if self._session.accepts_input and self._keep is None:
            self._may_read.set()
        else:
            self._may_read.clear()
        if not self._connected and not self._session.abandoned:
            self._over.set()
        if self.closed and self._connected:
            # The slot is free already; the client has this long to read its last messages.
            if self._farewell is None:
                self._farewell = self._loop.call_later(self._settings.farewell_s, self._drop)
            return
        deadline = self._session.next_deadline()
        if deadline is not None and (self._timer is None or deadline < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._tick)

    def _disconnect(self) -> None:
        self._connected = False
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None

    def _tick(self) -> None:
        self._timer = None
        self._take_in(partial(self._session.tick, self._loop.time()))
