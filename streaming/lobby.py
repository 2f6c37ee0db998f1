"""The server's door: who gets a seat, who is turned away, and what is said of it to those who only ask."""

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from voicewire.streaming.connection import Connection
from voicewire.streaming.engine import Engine, EngineState
from voicewire.streaming.errors import EngineError
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.seat import Seat
from voicewire.streaming.settings import ServerSettings

log = get_logger(__name__)

# When a client that was refused may try again, in seconds.
_RETRY_AFTER_S = 5


class Lobby:
    """The door: lets clients in while there are seats, and at the end sees everyone out.

    Args:
        engine: started by whoever made it.
        settings: limits of the sessions.
    """

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._connections: set[Connection] = set()
        self._closing = False

    @property
    def connections(self) -> int:
        """Sessions being served now."""
        return len(self._connections)

    async def stream(self, websocket: WebSocket) -> None:
        """`/v1/stream`: a seat at the handshake, or a refusal at once."""
        connection = Connection(websocket, self._settings, self._engine.model_name, self._engine.codecs)
        seat = await self._admit(websocket, connection)
        if seat is None:
            return
        self._connections.add(connection)
        try:
            await connection.run(seat)
        finally:
            self._connections.discard(connection)

    async def upgrade(self, request: Request) -> JSONResponse:
        """`/v1/stream` asked for without a websocket handshake."""
        message = "this is a websocket: connect with ws:// or wss://"
        return JSONResponse(
            {"code": ErrorCode.BAD_MESSAGE, "message": message}, 426, {"Upgrade": "websocket"}
        )

    async def health(self, request: Request) -> JSONResponse:
        """`/healthz`: whether the process is worth keeping."""
        failed = self._engine.state in (EngineState.FAILED, EngineState.STOPPED)
        return JSONResponse({"status": "failed" if failed else "ok"}, 503 if failed else 200)

    async def readiness(self, request: Request) -> JSONResponse:
        """`/readyz`: whether a session would be served now or later; slots in use say whether now."""
        ready = self._engine.ready and not self._closing
        status = "closing" if self._closing else self._engine.state.name.lower()
        slots = {"capacity": self._engine.capacity, "in_use": self._engine.seats_in_use}
        body = {"status": status, "model": self._engine.model_name, "slots": slots}
        return JSONResponse(body, 200 if ready else 503, headers={} if ready else _retry())

    def close(self) -> None:
        """Lets nobody in any more and asks everyone to finish."""
        self._closing = True
        for connection in list(self._connections):
            connection.shut_down()

    async def _admit(self, websocket: WebSocket, connection: Connection) -> Seat | None:
        """A seat, or an answer that says why there is none."""
        try:
            if self._closing:
                await _deny(websocket, ErrorCode.SHUTTING_DOWN, "the server is shutting down")
                return None
            seat = self._engine.reserve(connection.take_report)
        except EngineError as error:
            await _deny(websocket, ErrorCode.INTERNAL, str(error))
            return None
        if seat is None:
            capacity = self._engine.capacity
            log.info("session_refused", slots=capacity)
            await _deny(websocket, ErrorCode.CAPACITY, f"all {capacity} slots are in use: try again later")
        return seat


async def _deny(websocket: WebSocket, code: ErrorCode, message: str) -> None:
    """Refuses the handshake with HTTP 503."""
    await websocket.send_denial_response(
        JSONResponse({"code": code, "message": message}, 503, headers=_retry())
    )


def _retry() -> dict[str, str]:
    return {"Retry-After": str(_RETRY_AFTER_S)}
