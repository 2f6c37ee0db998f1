"""Websockets that come through a server of another make: how they end, and that what waits unread is bounded."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from voicewire.streaming.proxied import ProxiedWebSockets
from voicewire.streaming.transport import abort, parted, word_errors

Endpoint = Callable[[WebSocket], Awaitable[None]]


@contextlib.asynccontextmanager
async def client(endpoint: Endpoint, most_unread_bytes: int = 100_000) -> AsyncIterator[ClientConnection]:
    """Of an application with this one websocket, which uvicorn serves as it comes."""
    app = ProxiedWebSockets(Starlette(routes=[WebSocketRoute("/", endpoint)]), most_unread_bytes)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server._serve())  # `serve` would take the signals
    while not server.started:
        await asyncio.sleep(0.02)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", close_timeout=5) as connection:
            yield connection
    finally:
        server.should_exit = True
        await serving


async def test_messages_pass_both_ways_in_order() -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await websocket.send_bytes(await websocket.receive_bytes())

    async with client(echo) as connection:
        for number in range(300):  # far more than may wait
            await connection.send(bytes([number % 256]) * 1000)
            assert await connection.recv() == bytes([number % 256]) * 1000


@pytest.mark.parametrize(
    ("leave", "by_rule"),
    [
        (lambda connection: connection.close(), True),
        (lambda connection: connection.close(3000), False),
        (lambda connection: asyncio.to_thread(connection.transport.abort), False),
    ],
    ids=["goodbye", "given up", "lost"],
)
async def test_it_is_known_how_a_client_left(
    leave: Callable[[ClientConnection], Awaitable[None]], by_rule: bool
) -> None:
    left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass
        left.set_result(await parted(websocket))

    async with client(listen) as connection:
        await leave(connection)
        assert await asyncio.wait_for(left, 5) is by_rule


async def test_a_connection_that_is_dropped_is_closed_and_taken_for_lost() -> None:
    ended: asyncio.Future[tuple[str, bool]] = asyncio.get_running_loop().create_future()

    async def drop(websocket: WebSocket) -> None:
        await websocket.accept()
        abort(websocket)
        with pytest.raises(WebSocketDisconnect):
            await websocket.send_text("too late")
        ended.set_result(((await websocket.receive())["type"], await parted(websocket)))

    async with client(drop) as connection:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        assert connection.close_code == 1012
        assert await ended == ("websocket.disconnect", False)


async def test_a_client_that_is_too_far_ahead_is_told_and_is_out() -> None:
    over = asyncio.Event()

    async def deaf(websocket: WebSocket) -> None:
        await websocket.accept()
        word_errors(websocket, lambda error: json.dumps({"refused": error.code}))
        assert await parted(websocket)
        over.set()

    for message in (bytes(5000), b""):
        async with client(deaf) as connection:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(2000):
                    await connection.send(message)
                    await asyncio.sleep(0)
            assert json.loads(await connection.recv()) == {"refused": "buffer_full"}
            with pytest.raises(ConnectionClosed):
                await connection.recv()
            assert connection.close_code == 1009
        await asyncio.wait_for(over.wait(), 5)
        over.clear()
