"""The server: one port for the websocket, health, readiness and metrics, around one engine."""

import asyncio
import contextlib
import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from prometheus_client import disable_created_metrics
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from voicewire.streaming import logs
from voicewire.streaming.doors import deepgram, descriptions, openai, vosk
from voicewire.streaming.doors.wyoming import WyomingDoor
from voicewire.streaming.engine import Engine, EngineState
from voicewire.streaming.handover import Elsewhere
from voicewire.streaming.listening import Listeners, port_of
from voicewire.streaming.lobby import Lobby
from voicewire.streaming.page import Page
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.transport import transports

STREAM_PATH = "/v1/stream"

log = logs.get_logger(__name__)

# What the kernel holds for one connection, in bytes. It bounds how much audio waits unread behind a session that
# is held back, and how much a client may leave unread before the server notices.
_SOCKET_BUFFER_BYTES = 128 * 1024


def create_app(
    engine: Engine,
    settings: ServerSettings,
    page: Path | None = None,
    elsewhere: Elsewhere | None = None,
) -> Starlette:
    """The ASGI application. It neither starts nor stops the engine; `serve` and `running_server` do.

    `page` is a folder whose `index.html` is served at `/`, unless the settings say that no page is wanted.
    Sessions may go `elsewhere`, and come from there.

    Under another server than theirs, the limits that lie below ASGI (message size before a message is in memory,
    a whole request in time, a client that reads nothing) are that server's own.
    """
    lobby = Lobby(engine, settings, elsewhere)
    app = Starlette(
        routes=[
            WebSocketRoute(STREAM_PATH, lobby.stream),
            Route(STREAM_PATH, lobby.upgrade, methods=["GET", "POST"]),
            Route("/healthz", lobby.health),
            Route("/readyz", lobby.readiness),
            *([Route("/metrics", lobby.metrics)] if settings.metrics else ()),
            *deepgram.routes(lobby),
            *openai.routes(lobby),
            *vosk.routes(lobby),
            *descriptions.routes(),
            *(Page(page).routes() if page is not None and settings.page else ()),
        ]
    )
    app.state.lobby = lobby
    return app


def serve(settings: ServerSettings, *, page: Path | None = None, log_level: int = logging.INFO) -> None:
    """Loads the model and serves until SIGINT or SIGTERM; logs what is of `log_level` or above.

    Sessions are seen out before it returns, for at most the settings' `shutdown_s`; a second signal ends them at
    once.

    `page` is as in `create_app`. The port is open from the start; `/readyz` says when the model is loaded.

    Raises EngineError where the model cannot be loaded, KeyFileError where the API keys cannot be read,
    OSError where the address cannot be had.
    """
    logs.configure(log_level)
    # A series beside each counter, which says when it was made: all of them were at the start.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    listeners = Listeners.open(settings, settings.port)
    engine = Engine.from_settings(settings)
    server = _Server(engine, settings, page, exit_on_failure=True)
    engine.start()
    # uvicorn hands a signal on when it has shut down; after SIGTERM there is still the engine to be stopped.
    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        log.info("listening", host=settings.host, port=port_of(listeners.main), model=settings.model)
        server.run_on(listeners)
    finally:
        listeners.close()
        engine.stop(0.0 if server.force_exit else settings.shutdown_s)
    if engine.state is EngineState.FAILED:
        engine.wait_ready(0)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server in a thread of this process.

    Attributes:
        host, port: where it listens.
        engine: its engine.
        secure: whether it speaks TLS.
        vosk_port, wyoming_port: the ports of these protocols, where the settings asked for them.
    """

    host: str
    port: int
    engine: Engine
    secure: bool = False
    vosk_port: int | None = None
    wyoming_port: int | None = None

    @property
    def url(self) -> str:
        """The websocket URL of the native protocol."""
        return f"{'wss' if self.secure else 'ws'}://{self._authority}{STREAM_PATH}"

    @property
    def http_url(self) -> str:
        """Begins the URLs of `/healthz` and `/readyz`."""
        return f"{'https' if self.secure else 'http'}://{self._authority}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@contextlib.contextmanager
def running_server(
    settings: ServerSettings | None = None,
    *,
    engine: Engine | None = None,
    page: Path | None = None,
    port: int = 0,
    ready_within_s: float | None = 120.0,
) -> Iterator[RunningServer]:
    """A real server on a real socket, in a thread of this process, for as long as the block lasts::

        with running_server(ServerSettings(max_sessions=2)) as server:
            async with voicewire.client.connect(server.url) as stream: ...

    Args:
        settings: all but the port.
        engine: one that was started already, and that is not stopped here; else one is made from the settings.
        page: as in `create_app`.
        port: 0 takes a free one.
        ready_within_s: waits so long for the model to be loaded; None does not wait.

    Raises EngineError where the model cannot be loaded, KeyFileError where the API keys cannot be read, OSError
    where the address cannot be had.
    """
    settings = settings or ServerSettings()
    own = engine is None
    engine = engine or Engine.from_settings(settings)
    server = _Server(engine, settings, page)
    listeners = Listeners.open(settings, port)
    if own:
        engine.start()
    thread = threading.Thread(target=server.run_on, args=(listeners,), name="voicewire-server", daemon=True)
    thread.start()
    try:
        server.up.wait(10)
        if ready_within_s is not None:
            engine.wait_ready(ready_within_s)
        secure = settings.tls_cert is not None
        yield RunningServer(
            settings.host,
            port_of(listeners.main) or port,
            engine,
            secure,
            vosk_port=port_of(listeners.vosk),
            wyoming_port=port_of(listeners.wyoming),
        )
    finally:
        server.should_exit = True
        thread.join(settings.shutdown_s + 2 * settings.farewell_s + 5)
        listeners.close()
        if own:
            engine.stop(settings.shutdown_s)


class _Server(uvicorn.Server):
    """uvicorn, with our sessions seen out before it closes their connections."""

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        page: Path | None = None,
        *,
        exit_on_failure: bool = False,
    ) -> None:
        app = create_app(engine, settings, page)
        http, web = transports(settings)
        config = uvicorn.Config(
            app,
            http=http,
            ws=web,
            ws_max_size=settings.message_bytes,
            # A client that is held back cannot answer a ping; idle_s is what finds one that is gone.
            ws_ping_interval=None,
            # Audio does not shrink by it, and it costs memory and time per connection.
            ws_per_message_deflate=False,
            # Not uvloop where something has brought it along: what is tested is what runs.
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=math.ceil(settings.farewell_s),
        )
        super().__init__(config)
        self.up = threading.Event()
        self._engine = engine
        self._lobby: Lobby = app.state.lobby
        self._wyoming = WyomingDoor(self._lobby)
        self._wyoming_listener: socket.socket | None = None
        self._shutdown_s = settings.shutdown_s + settings.farewell_s
        self._exit_on_failure = exit_on_failure

    def run_on(self, listeners: Listeners) -> None:
        """Serves on these until `should_exit` is set."""
        self._wyoming_listener = listeners.wyoming
        self.run(sockets=listeners.web)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._wyoming_listener is not None:
            await self._wyoming.open(self._wyoming_listener)
        self._taking_over = asyncio.create_task(self._lobby.take_over(), name="voicewire-take-over")
        self.up.set()

    async def on_tick(self, counter: int) -> bool:
        failed = self._exit_on_failure and self._engine.state is EngineState.FAILED
        return await super().on_tick(counter) or failed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets the sessions finish, the second ends at once."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._lobby.close()
        self._wyoming.close()
        deadline = time.monotonic() + self._shutdown_s
        while self._lobby.connections and time.monotonic() < deadline and not self.force_exit:
            await asyncio.sleep(0.02)
        self._lobby.dismiss()
        await super().shutdown(sockets)
        await asyncio.to_thread(self._lobby.shut)
