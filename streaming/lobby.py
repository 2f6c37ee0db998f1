"""The server's door: who gets a seat, who is turned away, and what is said of it to those who only ask."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from voicewire.streaming.answers import Denial, Health, Readiness, Slots
from voicewire.streaming.deck import Deck
from voicewire.streaming.engine import Engine, EngineState
from voicewire.streaming.errors import EngineError, SessionError
from voicewire.streaming.handover import Elsewhere, Handover, Parcel
from voicewire.streaming.live import LiveSession
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.metrics import Standing
from voicewire.streaming.porter import STATUS, Porter
from voicewire.streaming.resumption import Resumption
from voicewire.streaming.seat import Seat
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.traces import Traces
from voicewire.streaming.transport import abort

log = get_logger(__name__)

# When a client that was refused may try again, in seconds.
RETRY_LATER = {"Retry-After": "5"}

_LOOK_S = 0.05


class Lobby:
    """The door: lets clients in while there are seats, and at the end sees everyone out.

    Args:
        engine: started by whoever made it.
        settings: limits of the sessions.
        elsewhere: other processes that sessions may go to, and come from; None where there are none.
    """

    def __init__(self, engine: Engine, settings: ServerSettings, elsewhere: Elsewhere | None = None) -> None:
        self._engine = engine
        self._metrics = engine.metrics
        self._porter = Porter(settings)
        self._deck = Deck(settings, engine)
        self._traces = Traces(settings.traces)
        self._settings = settings
        self._sessions: set[LiveSession] = set()
        self._resumption = Resumption(settings, self._fetch)
        self._closing = False
        self._handover = None if settings.handover is None else Handover(settings.handover, settings.resume_s)
        self._awaiting_returns = self._handover is not None
        self._elsewhere = elsewhere
        self._returns: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Sessions being served now."""
        return len(self._sessions)

    @property
    def closing(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closing

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def settings(self) -> ServerSettings:
        return self._settings

    def new_session(
        self, drop: Callable[[], None] = lambda: None, *, start_within_s: float | None = None
    ) -> LiveSession:
        """A session without a seat.

        Args:
            drop: ends its connection where the client does not read.
            start_within_s: seconds until its `start`, where the client's protocol has no such message.
        """
        settings = self._settings
        if start_within_s is not None:
            settings = settings.model_copy(update={"handshake_s": start_within_s})
        engine = self._engine
        return LiveSession(
            settings, engine.model_name, engine.codecs, drop, self._metrics, self._deck, self._traces
        )

    @contextlib.contextmanager
    def seated(self, live: LiveSession, headers: Mapping[str, str]) -> Iterator[None]:
        """The session has a seat for as long as the block lasts. Raises SessionError where none can be had."""
        with contextlib.ExitStack() as stack:
            try:
                visitor = stack.enter_context(self._porter.admitted(headers))
                seat = self._reserve(live)
            except SessionError as error:
                self._metrics.refused.labels(error.code.value).inc()
                raise
            self._sessions.add(live)
            try:
                live.begin(seat, visitor)
                yield
            finally:
                live.leave()
                self._sessions.discard(live)

    async def stream(self, websocket: WebSocket) -> None:
        """`/v1/stream`: a seat at the handshake, or a refusal at once; with `?resume`, the seat that one had."""
        live = self.new_session(drop=partial(abort, websocket))
        try:
            if "resume" in websocket.query_params:
                self._readmit(websocket.headers)
                await self._resumption.resume(websocket)
                return
            with self.seated(live, websocket.headers):
                await self._resumption.serve(websocket, live)
        except SessionError as error:
            await websocket.send_denial_response(_denial(error))

    async def upgrade(self, request: Request) -> Response:
        """`/v1/stream` asked for without a websocket handshake: whether the key is good is told all the same.

        A browser does not tell a page why a handshake was refused.
        """
        try:
            self._porter.check(request.headers)
        except SessionError as error:
            return _denial(error)
        message = "this is a websocket: connect with ws:// or wss://"
        return _answer(Denial(code=ErrorCode.BAD_MESSAGE, message=message), 426, {"Upgrade": "websocket"})

    async def health(self, request: Request) -> Response:
        """`/healthz`: whether the process is worth keeping."""
        ailment = self.ailment
        return _answer(Health(status=ailment or "ok"), 503 if ailment else 200)

    async def readiness(self, request: Request) -> Response:
        """`/readyz`: whether a session would be served now or later; `/readyz?seats=1`: whether now."""
        slots = Slots(capacity=self._engine.capacity, in_use=self._engine.seats_in_use)
        full = "seats" in request.query_params and slots.in_use >= slots.capacity
        status = self._status
        ready = status == "ready" and not full
        answer = Readiness(
            status="full" if status == "ready" and full else status,
            model=self._engine.model_name,
            codecs=sorted(self._engine.codecs),
            slots=slots,
        )
        return _answer(answer, 200 if ready else 503, {} if ready else RETRY_LATER)

    async def metrics(self, request: Request) -> Response:
        """`/metrics`: what Prometheus reads; with a key where sessions need one."""
        try:
            self._porter.check(request.headers)
        except SessionError as error:
            return _denial(error)
        standing = Standing(
            model=self._engine.model_name,
            ready=self._status == "ready",
            capacity=self._engine.capacity,
            seats_in_use=self._engine.seats_in_use,
            turn_s=self._engine.turn_s,
            state_bytes=self._engine.state_bytes,
            rung=self._engine.rung,
            backlogs_s=[live.buffered_s for live in self._sessions],
        )
        content, content_type = self._metrics.page(standing, request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type})

    async def take_over(self) -> None:
        """Goes on with the sessions that another process has left behind, once there is a model."""
        if self._handover is None:
            return
        while self._engine.state is EngineState.LOADING:
            await asyncio.sleep(_LOOK_S)
        if not self._closing:
            for parcel in self._handover.take():
                self._take_up(parcel)
        await asyncio.sleep(0)  # each has begun
        self._awaiting_returns = False

    def let_go(self, token: str) -> Literal["leaves", "stays", "absent"]:
        """What becomes of a session whose client has come back elsewhere."""
        live = self._resumption.session(token)
        if live is None:
            return "absent"
        if live.portable and self._elsewhere is not None:
            live.hand_over(self._elsewhere.put)
        return "leaves" if live.leaving else "stays"

    async def _fetch(self, token: str) -> None:
        """Has a session come here from elsewhere, if it is there. Raises SessionError."""
        if self._elsewhere is None:
            return
        full = SessionError(ErrorCode.CAPACITY, "the session cannot come here now: try again")
        if self._engine.seats_in_use >= self._engine.capacity:
            raise full
        parcel = await self._elsewhere.take(token)
        if parcel is not None:
            self._take_up(parcel)
            await asyncio.sleep(0)  # it has begun
            if self._resumption.session(token) is None:
                self._elsewhere.put(parcel)
                raise full

    def _take_up(self, parcel: Parcel) -> None:
        task = asyncio.create_task(self._go_on(parcel), name="voicewire-return")
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _go_on(self, parcel: Parcel) -> None:
        live = self.new_session()
        try:
            with self._porter.returned(parcel.session.key) as visitor:
                seat = self._reserve(live)
                self._sessions.add(live)
                try:
                    live.go_on(parcel.session, parcel.snapshot, seat, visitor)
                    await self._resumption.await_return(live)
                finally:
                    live.leave()
                    self._sessions.discard(live)
        except SessionError as error:
            log.warning("session_not_taken_over", session=parcel.session.session_id, reason=str(error))

    def close(self, *, leave: bool = True) -> None:
        """Lets nobody in any more and asks everyone to finish, or to `leave` for another process if they can."""
        self._closing = True
        keep = self._keep if leave else None
        for live in list(self._sessions):
            if keep is not None and live.portable:
                live.hand_over(keep)
            else:
                live.shut_down()

    def shut(self) -> None:
        """Everyone is out."""
        self._traces.shut()

    def dismiss(self) -> None:
        """Waits no longer for those whose connection was lost."""
        for live in list(self._sessions):
            if live.abandoned:
                live.end_connection()

    def _readmit(self, headers: Mapping[str, str]) -> None:
        self._porter.check(headers)
        if self._keep is not None and (self._closing or self._awaiting_returns):
            raise SessionError(ErrorCode.CAPACITY, "the server is being started anew: try again")
        if self._resumption.crowded:
            raise SessionError(ErrorCode.CAPACITY, "too many clients come back at once: try again")

    @property
    def _keep(self) -> Callable[[Parcel], None] | None:
        """Takes sessions that leave; None where they have nowhere to go."""
        to = self._handover or self._elsewhere
        return None if to is None else to.put

    @property
    def ailment(self) -> Literal["failed", "stalled"] | None:
        """What makes this process not worth keeping, if anything does."""
        engine = self._engine
        if engine.state in (EngineState.FAILED, EngineState.STOPPED) or (engine.ready and not engine.alive):
            return "failed"
        # While a model is loaded, nothing is known of its progress.
        return "stalled" if engine.ready and engine.turn_s > self._settings.stall_s else None

    @property
    def _status(self) -> Literal["ready", "loading", "closing", "failed", "stalled"]:
        if self._closing:
            return "closing"
        return self.ailment or ("loading" if self._engine.state is EngineState.LOADING else "ready")

    def _reserve(self, live: LiveSession) -> Seat:
        if self._closing:
            raise SessionError(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
        try:
            seat = self._engine.reserve(live.take_report)
        except EngineError as error:
            raise SessionError(ErrorCode.INTERNAL, str(error)) from error
        if seat is None:
            capacity = self._engine.capacity
            log.info("session_refused", slots=capacity)
            raise SessionError(ErrorCode.CAPACITY, f"all {capacity} slots are in use: try again later")
        return seat


def _denial(error: SessionError) -> Response:
    """The answer to a handshake that comes to nothing."""
    status = STATUS.get(error.code, 503)
    headers = RETRY_LATER if status in (429, 503) else {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return _answer(Denial(code=error.code, message=str(error)), status, headers)


def _answer(answer: BaseModel, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(answer.model_dump_json(), status, headers, "application/json")
