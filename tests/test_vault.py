"""Sessions that change the server process while both run: the vault between them, and that nothing is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
import uvicorn

from tests.serving import real_engine
from tests.test_handover import spoken
from voicewire.streaming.server import create_app
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.vault import STAYS, Vault

# ---- the vault alone


async def test_a_parcel_is_given_out_once() -> None:
    vault = Vault(good_for_s=30)
    await vault.put("token", b"parcel")
    assert await vault.take("token", "one") == b"parcel"
    assert await vault.take("token", "one") is None


async def test_what_is_too_old_or_too_much_is_thrown_away() -> None:
    now = 0.0
    vault = Vault(good_for_s=30, most_parcels=3, most_bytes=10, clock=lambda: now)
    for token in "abcd":
        await vault.put(token, b"x")
    assert await vault.take("a", "one") is None  # the oldest of four
    await vault.put("e", b"123456789")
    assert [await vault.take(token, "one") for token in "bcde"] == [None, None, b"x", b"123456789"]
    await vault.put("f", b"x")
    now = 31.0
    assert await vault.take("f", "one") is None


async def test_the_replica_that_has_a_session_is_asked_for_it() -> None:
    vault = Vault(good_for_s=30)

    async def replica(name: str, sessions: dict[str, bytes | None]) -> None:
        answers: dict[str, bool] = {}
        while True:
            wanted = await vault.wanted(name, answers)
            answers = {token: token in sessions for token in wanted if not sessions.get(token)}
            for token in wanted:
                if parcel := sessions.pop(token, None):
                    await vault.put(token, parcel)

    tasks = [
        asyncio.create_task(replica("one", {"moves": b"parcel", "stays": None})),
        asyncio.create_task(replica("two", {})),
    ]
    await asyncio.sleep(0.05)
    assert await vault.take("moves", "two") == b"parcel"
    assert await vault.take("stays", "two") == STAYS
    began = time.monotonic()
    assert await vault.take("unknown", "two") is None
    assert time.monotonic() - began < 1  # every other replica has said that it is not there
    tasks[0].cancel()  # died, and nobody has noticed yet
    await asyncio.sleep(0.05)
    assert await vault.take("lost", "two") is None
    assert 2 < time.monotonic() - began < 10
    tasks[1].cancel()


# ---- two servers


class Balancer:
    """Leads every new connection to the next server, and can cut all that there are."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._count = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self._ports[self._count % len(self._ports)]
        self._count += 1
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._writers += [writer, back]
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers = []


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def two_servers(**settings: object) -> AsyncIterator[tuple[str, Balancer]]:
    """Behind a balancer, of another make than ours, as before a replica; they share an engine and a vault."""
    ray_serve = pytest.importorskip("voicewire.streaming.ray_serve", reason="pip install 'voicewire[ray]'")
    from voicewire.streaming.proxied import ProxiedWebSockets

    engine, given = real_engine(), ServerSettings(**settings)  # type: ignore[arg-type]
    vault = Vault(given.resume_s)
    actor = SimpleNamespace(
        **{name: SimpleNamespace(remote=getattr(vault, name)) for name in ("put", "take", "wanted")}
    )
    async with AsyncExitStack() as stack:
        ports = []
        for name in ("one", "two"):
            neighbours = ray_serve.Neighbours(actor, name)
            app = create_app(engine, given, elsewhere=neighbours)
            answering = asyncio.create_task(neighbours.answer(app.state.lobby))
            stack.callback(answering.cancel)
            server = uvicorn.Server(
                uvicorn.Config(ProxiedWebSockets(app, 1024 * 1024), port=0, lifespan="off", log_config=None)
            )
            serving = asyncio.create_task(server._serve())  # `serve` takes the signals
            while not server.started:
                await asyncio.sleep(0.02)
            ports.append(server.servers[0].sockets[0].getsockname()[1])
            stack.push_async_callback(_end, server, serving)
        balancer = Balancer(ports)
        front = await asyncio.start_server(balancer, "127.0.0.1", 0)
        stack.callback(front.close)
        yield f"ws://127.0.0.1:{front.sockets[0].getsockname()[1]}/v1/stream", balancer


async def _end(server: uvicorn.Server, serving: "asyncio.Task[None]") -> None:
    server.should_exit = True
    await serving


@pytest.mark.parametrize("options", [{}, {"refine": True}], ids=["it moves", "it stays where it is"])
async def test_a_client_that_comes_back_to_another_server_loses_nothing(options: dict[str, bool]) -> None:
    async with two_servers() as (url, balancer):
        expected, _, _ = await spoken(url, 6.0, 0, 6.0, **options)
        session = asyncio.create_task(spoken(url, 6.0, 0, 1.5, **options))
        for _ in range(2):
            await asyncio.sleep(1.2)
            balancer.cut()
        words, resumed, done = await session
    assert resumed == 2
    assert words == expected
    assert done.totals.audio_s == 6.0
