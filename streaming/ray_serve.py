"""The service as a Ray Serve application: replicas that Ray starts, watches and ends, and sessions that move.

    serve run voicewire.streaming.ray_serve:application replicas=2-8 max_sessions=24

A websocket stays with its replica. Of a replica that Serve lets go the sessions go to the vault, and of one whose
client lost its connection and came back to another replica, the session does too.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException
from starlette.types import ASGIApp

from voicewire.streaming import logs
from voicewire.streaming.engine import Engine
from voicewire.streaming.errors import DeploymentError, HandoverError, SessionError
from voicewire.streaming.handover import Parcel, packed, unpacked
from voicewire.streaming.lobby import Lobby
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.proxied import ProxiedWebSockets
from voicewire.streaming.server import create_app
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.vault import POLL_S, STAYS, Vault

log = logs.get_logger(__name__)

NAME = "voicewire"
_NAMESPACE = "voicewire"
# Whoever reaches the vault is in the cluster already, so its parcels are guarded against damage alone.
_KEY = b""

# Serve asks after a replica's health so often, and does no more once it lets it go, which it says in no other way.
_HEALTH_S = 1.0
_SILENCE_S = 4.0
# A vault that no replica has asked for so long ends.
_VAULT_IDLE_S = 600.0

# The part of a replica's slots above which there are to be more replicas.
_BUSY = 2 / 3
# Connections to a replica beside its sessions: who comes back before the old connection is known to be lost, who
# asks for the page, and who is to be told that all slots are in use.
_MORE_CONNECTIONS = 16
_MOST_WAITING = 64
# How far ahead of what is read a client may send, in messages of the greatest length.
_UNREAD_MESSAGES = 8


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many there are to be: Ray decides between `least` and `most`."""

    least: int = 1
    most: int = 1

    @classmethod
    def parse(cls, text: str) -> "Replicas":
        """`2`, or `2-8`. Raises DeploymentError."""
        least, dash, most = text.partition("-")
        most = most if dash else least
        if not (least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most)):
            raise DeploymentError(f"replicas are a number or a range, such as 2 or 2-8, and not {text!r}")
        return cls(int(least), int(most))


def application(args: Mapping[str, Any]) -> serve.Application:
    """What `serve run` and `serve deploy` build: settings of the server by name, over the environment and a file.

    Args:
        args: `replicas` (`2`, or `2-8`), `config` (a TOML file), and any of ServerSettings.

    Raises DeploymentError, pydantic.ValidationError, FileNotFoundError.
    """
    given = dict(args)
    replicas = Replicas.parse(str(given.pop("replicas", 1)))
    config = given.pop("config", os.environ.get("VOICEWIRE_CONFIG"))
    return deployed(ServerSettings.load(config and Path(config), **given), replicas)


def deployed(settings: ServerSettings, replicas: Replicas, page: Path | None = None) -> serve.Application:
    """The application with these settings; `page` is as in `create_app`. Raises DeploymentError.

    A replica has the processors that `threads` says, one where it says nothing, and with `device = "cuda"` a GPU.
    """
    if settings.max_sessions == "auto":
        raise DeploymentError("a replica's sessions are a number here: max_sessions=24, say")
    for name in ("vosk", "wyoming", "handover"):
        if getattr(settings, name):
            raise DeploymentError(f"{name} cannot be had on Ray: leave it out")
    cores = settings.threads or 1
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": cores, "num_gpus": int(settings.device == "cuda")},
        "max_ongoing_requests": 2 * settings.max_sessions + _MORE_CONNECTIONS,
        "max_queued_requests": _MOST_WAITING,
        "health_check_period_s": _HEALTH_S,
        "health_check_timeout_s": settings.stall_s,
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": _SILENCE_S + settings.shutdown_s + 2 * settings.farewell_s + 5,
    }
    if replicas.most > replicas.least:
        options["autoscaling_config"] = {
            "min_replicas": replicas.least,
            "max_replicas": replicas.most,
            "target_ongoing_requests": max(1.0, _BUSY * settings.max_sessions),
        }
    else:
        options["num_replicas"] = replicas.least
    settings = settings.model_copy(update={"threads": cores})
    return serve.deployment(name=NAME, **options)(Replica).bind(settings, page)


def run(settings: ServerSettings, replicas: Replicas, page: Path | None = None) -> None:
    """Serves until SIGINT or SIGTERM on the cluster that RAY_ADDRESS names or this machine runs, or on a new one.

    Then sessions are seen out. Where Serve runs already, it keeps its address, whatever the settings say.

    Raises DeploymentError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    app = deployed(settings, replicas, page)
    ray.init(ignore_reinit_error=True, namespace=_NAMESPACE, include_dashboard=False)
    http = HTTPOptions(
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert and str(settings.tls_cert),
        ssl_keyfile=settings.tls_key and str(settings.tls_key),
    )
    serve.start(http_options=http)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve.run(app, name=NAME, route_prefix="/", blocking=True)
    except KeyboardInterrupt:
        serve.delete(NAME)


@serve.ingress()
class Replica:
    """One engine, and the application around it."""

    async def __init__(self, settings: ServerSettings, page: Path | None) -> None:  # type: ignore[misc]
        logs.configure()
        self._tasks: list[asyncio.Task[None]] = []
        context = serve.get_replica_context()
        self._where = context.app_name, context.deployment
        self._settings, self._page = settings, page
        self._engine = Engine.from_settings(settings)
        self._engine.start()
        await asyncio.to_thread(self._engine.wait_ready)
        self._neighbours = Neighbours(_vault(context.app_name, settings.resume_s), context.replica_tag)
        self._lobby: Lobby
        self._asked_at = 0.0

    def __serve_build_asgi_app__(self) -> ASGIApp:
        app = create_app(self._engine, self._settings, self._page, self._neighbours)
        self._lobby = app.state.lobby
        self._asked_at = asyncio.get_running_loop().time()
        self._tasks = [
            asyncio.create_task(self._neighbours.answer(self._lobby), name="voicewire-neighbours"),
            asyncio.create_task(self._leave_when_let_go(), name="voicewire-leave"),
        ]
        return ProxiedWebSockets(app, _UNREAD_MESSAGES * self._settings.message_bytes)

    async def check_health(self) -> None:
        """Raises RuntimeError where Serve is to put another replica in its place."""
        self._asked_at = asyncio.get_running_loop().time()
        if ailment := self._lobby.ailment:
            raise RuntimeError(f"the engine is {ailment}")
        if self._lobby.closing:
            raise RuntimeError("the replica lets nobody in any more")

    async def __del__(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._engine.stop, self._settings.shutdown_s)

    async def _leave_when_let_go(self) -> None:
        """Sees everyone out once Serve wants this replica no more."""
        loop = asyncio.get_running_loop()
        fate = "stays"
        while fate == "stays":
            await asyncio.sleep(_HEALTH_S / 2)
            if loop.time() - self._asked_at > _SILENCE_S:
                fate = await asyncio.to_thread(_fate, *self._where)
        log.info("replica_let_go", sessions=self._lobby.connections, fate=fate)
        self._lobby.close(leave=fate == "leaves")


def _fate(application: str, deployment: str) -> Literal["stays", "leaves", "ends"]:
    """Of a replica that nobody asks after any more: whether it alone goes, or all of them."""
    try:
        status = serve.status().applications.get(application)
    except (RayError, RayServeException, TimeoutError):  # Serve itself is away, and will be back
        return "stays"
    if status is not None and status.status == "DELETING":
        return "ends"
    if status is None or deployment not in status.deployments:
        return "stays"
    return "leaves" if "STOPPING" in status.deployments[deployment].replica_states else "stays"


class Neighbours:
    """The replicas of one application, reached through its vault: an `Elsewhere`.

    Args:
        vault: the actor.
        own: the name of the replica that is here.
    """

    def __init__(self, vault: Any, own: str) -> None:
        self._vault = vault
        self._own = own
        self._leaving: dict[str, asyncio.Task[None]] = {}

    def put(self, parcel: Parcel) -> None:
        token = parcel.session.token
        task = asyncio.create_task(self._put(token, parcel), name="voicewire-leaving")
        self._leaving[token] = task
        task.add_done_callback(lambda _: self._leaving.pop(token, None))

    async def take(self, token: str) -> Parcel | None:
        try:
            data: bytes | None = await self._vault.take.remote(token, self._own)
            if data == STAYS:
                raise SessionError(ErrorCode.CAPACITY, "another replica has the session: try again")
            return None if data is None else unpacked(data, _KEY)
        except RayError as error:
            log.warning("vault_away", reason=str(error))
            raise SessionError(
                ErrorCode.CAPACITY, "the session cannot be looked for now: try again"
            ) from error
        except HandoverError as error:
            log.warning("handover_not_taken", reason=str(error))
            return None

    async def answer(self, lobby: Lobby) -> None:
        """Lets go of sessions that are wanted elsewhere, for as long as it runs."""
        answers: dict[str, bool] = {}
        while True:
            try:
                wanted: list[str] = await self._vault.wanted.remote(self._own, answers)
            except RayError as error:
                log.warning("vault_away", reason=str(error))
                await asyncio.sleep(POLL_S)
                continue
            fates = {token: lobby.let_go(token) for token in wanted if token not in self._leaving}
            answers = {token: fate == "stays" for token, fate in fates.items() if fate != "leaves"}

    async def _put(self, token: str, parcel: Parcel) -> None:
        try:
            await self._vault.put.remote(token, packed(parcel, _KEY))
        except RayError as error:
            log.error("handover_failed", session=parcel.session.session_id, reason=str(error))


class _IdleVault(Vault):
    """A vault in an actor, which outlives every replica and ends by itself."""

    _end: asyncio.TimerHandle | None = None

    async def wanted(self, replica: str, answers: Mapping[str, bool]) -> list[str]:
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(_VAULT_IDLE_S, _leave)
        return await super().wanted(replica, answers)


def _vault(application: str, good_for_s: float) -> Any:
    """The application's, begun by the first replica that asks for it; where its machine dies, it is born again."""
    actor = ray.remote(_IdleVault).options(
        name=f"vault-{application}",
        namespace=_NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_concurrency=10_000,  # a question of each replica's waits at any time
    )
    return actor.remote(good_for_s)


def _leave() -> None:
    ray.kill(ray.get_runtime_context().current_actor)
