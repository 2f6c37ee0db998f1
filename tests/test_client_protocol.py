"""What the client does on the wire, against a scripted server: also what a good server never sends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from voicewire.client import (
    AudioFormatError,
    ConnectionFailed,
    ConnectionLost,
    ProtocolError,
    ServerError,
    SettingError,
    StreamClosed,
    connect,
    sync,
)
from voicewire.client.address import Address
from voicewire.client.pcm import pcm_bytes

Script = Callable[[ServerConnection], Awaitable[None]]

LIMITS = {"message_bytes": 100_000, "idle_s": 0.6, "session_s": 60, "buffered_s": 30}


def ready(start: dict[str, Any]) -> dict[str, Any]:
    settings = {"language": "en", "chunk_ms": 300, "commit_ms": 1200, "endpoint_ms": 700, "channels": 1}
    settings |= {"interim": True, "words": True}
    settings |= {name: value for name, value in start.items() if name not in ("type", "version")}
    return {
        "type": "ready",
        "version": 1,
        "session_id": "s",
        "model": "scripted",
        "settings": settings,
        "limits": LIMITS,
    }


def transcript(seq: int, text: str, processed: float, received: float = 0.0) -> dict[str, Any]:
    word = {"word": text, "start": 0.0, "end": processed, "probability": 0.5, "emitted": processed}
    return {
        "type": "transcript",
        "seq": seq,
        "words": [word] if text else [],
        "tail": [],
        "text": text,
        "tail_text": "",
        "utterance": 0,
        "audio_received": received,
        "audio_processed": processed,
        "buffered_ms": 0,
    }


DONE = {"type": "done", "totals": {"audio_s": 1.0, "words": 1, "utterances": 1}}


async def say(socket: ServerConnection, message: dict[str, Any]) -> None:
    await socket.send(json.dumps(message))


async def hear(socket: ServerConnection) -> dict[str, Any] | bytes:
    data = await socket.recv()
    return json.loads(data) if isinstance(data, str) else data


async def greet(socket: ServerConnection) -> dict[str, Any]:
    start = await hear(socket)
    assert isinstance(start, dict)
    assert start["type"] == "start"
    await say(socket, ready(start))
    return start


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """A server that follows a script; what goes wrong in it comes out at the end of the block."""
    failures: list[Exception] = []

    async def handler(socket: ServerConnection) -> None:
        try:
            await script(socket)
        except Exception as error:
            failures.append(error)

    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}"
    assert not failures


async def test_start_names_what_was_chosen_and_no_more() -> None:
    async def script(socket: ServerConnection) -> None:
        start = await greet(socket)
        assert start == {
            "type": "start",
            "version": 1,
            "encoding": "pcm_f32le",
            "sample_rate": 8000,
            "channels": 2,
            "language": "de",
            "chunk_ms": 100,
            "interim": True,
            "words": True,
            "endpoint_ms": 700,
            "resume": True,
        }
        assert await hear(socket) == {"type": "close"}
        await say(socket, DONE)

    async with scripted(script) as url:
        options = {
            "encoding": "pcm_f32le",
            "sample_rate": 8000,
            "channels": 2,
            "language": "de",
            "chunk_ms": 100,
        }
        async with connect(url, **options) as stream:
            assert stream.ready.model == "scripted"
            assert stream.settings.chunk_ms == 100


async def test_events_come_typed_and_in_order_and_end_with_done() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await say(socket, {"type": "speech_started", "seq": 1, "time": 0.2})
        await say(socket, transcript(2, " one", 1.2))
        await say(socket, {"type": "something_new", "of": "a later version"})
        await say(socket, {"type": "warning", "code": "decoder_reset", "message": "again"})
        await say(
            socket,
            {
                "type": "endpoint",
                "seq": 3,
                "utterance": 0,
                "start": 0.2,
                "end": 1.1,
                "text": " one",
                "new": 1,
            },
        )
        assert await hear(socket) == {"type": "close"}
        await say(socket, transcript(4, " two", 1.6))
        await say(socket, DONE)

    async with scripted(script) as url, connect(url) as stream:
        done = await stream.close()
        assert done.totals.words == 1
        events = [event async for event in stream]
        assert [event.type for event in events] == [
            "speech_started",
            "transcript",
            "warning",
            "endpoint",
            "transcript",
            "done",
        ]
        assert [event async for event in stream] == []
        assert await stream.close() == done


async def test_a_flush_waits_for_its_own_answer() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        first, second = await hear(socket), await hear(socket)
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        await say(socket, transcript(1, " words", 0.5))
        for seq, flush in enumerate((second, first)):
            await say(
                socket, {"type": "flushed", "seq": seq, "id": flush["id"], "audio_processed": 1.0 + seq}
            )
        await socket.wait_closed()

    async with scripted(script) as url, connect(url) as stream:
        early, late = await asyncio.gather(stream.flush(), stream.flush("mine"))
        assert early.id != late.id == "mine"
        assert early.audio_processed > late.audio_processed
        assert [(await anext(stream)).type for _ in range(3)] == ["transcript", "flushed", "flushed"]
        with pytest.raises(SettingError):
            await stream.flush("x" * 201)
        await stream.abort()


async def test_a_flush_whose_answer_never_comes_ends_with_the_session() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await hear(socket)
        await say(socket, {"type": "error", "code": "session_too_long", "message": "an hour is over"})
        await socket.close(1008)

    async with scripted(script) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="an hour is over") as caught:
            await stream.flush()
        assert caught.value.code == "session_too_long"
        with pytest.raises(ServerError):
            await stream.send(b"\0\0")
        with pytest.raises(ServerError):
            await anext(stream)


async def test_configure_gives_what_is_in_force() -> None:
    async def script(socket: ServerConnection) -> None:
        start = await greet(socket)
        assert await hear(socket) == {"type": "configure", "commit_ms": 600}
        settings = ready({**start, "commit_ms": 600})["settings"]
        await say(socket, {"type": "configured", "settings": settings})
        await hear(socket)
        await say(socket, DONE)

    async with scripted(script) as url, connect(url) as stream:
        settings = await stream.configure(commit_ms=600)
        assert settings.commit_ms == stream.settings.commit_ms == 600
        with pytest.raises(SettingError, match="chunk_ms"):
            await stream.configure(chunk_ms=50)


async def test_send_waits_while_the_server_is_behind() -> None:
    heard: list[int] = []
    go = asyncio.Event()

    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        received = 0.0
        while True:
            data = await hear(socket)
            if not isinstance(data, bytes):
                break
            assert len(data) <= LIMITS["message_bytes"]
            heard.append(len(data))
            received += len(data) / 32_000
            if received >= 2.0:
                await go.wait()
                await say(socket, transcript(0, "", received, received))
        await say(socket, DONE)

    async with scripted(script) as url, connect(url, max_backlog_s=2.0) as stream:
        sending = asyncio.create_task(stream.send(bytes(32_000 * 10)))
        while sum(heard) < 32_000 * 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not sending.done()
        assert 32_000 * 2 <= sum(heard) <= 32_000 * 2 + 64 * 1024
        assert stream.backlog_s >= 2.0
        go.set()
        await sending
        assert stream.sent_s == 10.0
        await stream.close()
        assert sum(heard) == 320_000


@pytest.mark.parametrize(
    ("encoding", "sent", "sizes"),
    [
        ("pcm_s16le", [b"abc", b"d", b"efghi"], [2, 2, 4]),
        ("pcm_f32le", [bytes(70_001), bytes(3)], [65_536, 4_464, 4]),
        ("mulaw", [bytes(3)], [3]),
        ("opus", [bytes(5_000), bytes(7)], [5_000, 7]),
        ("ogg_opus", [bytes(5_000)], [4_096, 904]),
    ],
)
async def test_bytes_are_cut_where_the_encoding_allows(
    encoding: Any, sent: list[bytes], sizes: list[int]
) -> None:
    heard: list[bytes] = []

    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        while isinstance(data := await hear(socket), bytes):
            heard.append(data)
        await say(socket, DONE)

    async with scripted(script) as url, connect(url, encoding=encoding) as stream:
        for data in sent:
            await stream.send(data)
    assert [len(data) for data in heard] == sizes
    assert b"".join(sent).startswith(b"".join(heard))


async def test_keepalive_holds_an_idle_session_open() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        for _ in range(3):
            assert await asyncio.wait_for(hear(socket), LIMITS["idle_s"]) == {"type": "keepalive"}
        await say(socket, transcript(1, " still here", 0.0))
        while await hear(socket) != {"type": "close"}:
            pass
        await say(socket, DONE)

    async with scripted(script) as url, connect(url, keepalive=True) as stream:
        assert (await anext(stream)).type == "transcript"


async def test_a_connection_that_breaks_is_no_end() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await say(socket, transcript(1, " half", 0.3))
        await hear(socket)
        socket.transport.abort()

    async def send_and_read(url: str, reads: int) -> None:
        async with connect(url) as stream:
            await stream.send(bytes(320))
            for _ in range(reads):
                assert (await anext(stream)).type == "transcript"

    async with scripted(script) as url:
        for reads in (2, 0):  # it does not pass unnoticed where nobody reads, either
            with pytest.raises(ConnectionLost):
                await send_and_read(url, reads)


async def test_closing_without_done_is_no_end() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await hear(socket)

    async with scripted(script) as url:
        with pytest.raises(ConnectionLost, match="before it had said done"):
            async with connect(url) as stream:
                await stream.close()


async def test_close_gives_up_on_a_server_that_says_nothing() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.wait_closed()

    async with scripted(script) as url:
        with pytest.raises(ConnectionLost, match=r"within 0\.2 s"):
            async with connect(url) as stream:
                await stream.close(timeout_s=0.2)


async def test_nothing_may_follow_close() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await hear(socket)
        await say(socket, DONE)

    async with scripted(script) as url, connect(url) as stream:
        await stream.close()
        for call in (
            stream.send(b"\0\0"),
            stream.flush(),
            stream.configure(chunk_ms=200),
            stream.keepalive(),
        ):
            with pytest.raises(StreamClosed):
                await call


@pytest.mark.parametrize("text", ["no json", "[]", '{"type": "transcript", "seq": "one"}'])
async def test_what_is_not_in_the_protocol_ends_the_stream(text: str) -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.send(text)
        await socket.wait_closed()

    async with scripted(script) as url, connect(url) as stream:
        with pytest.raises(ProtocolError, match="not in the protocol"):
            await anext(stream)


async def test_an_exception_in_the_block_drops_the_stream() -> None:
    ended = asyncio.Event()

    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        with contextlib.suppress(Exception):
            assert await hear(socket) != {"type": "close"}
        ended.set()

    async with scripted(script) as url:
        with pytest.raises(ZeroDivisionError):
            async with connect(url):
                raise ZeroDivisionError
        await asyncio.wait_for(ended.wait(), 5)


async def test_feed_sends_in_the_background_and_passes_on_what_the_source_raises() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        count = 0
        with contextlib.suppress(Exception):
            while isinstance(await hear(socket), bytes):
                count += 1
                await say(socket, transcript(count, f" {count}", 0.1 * count))
            await say(socket, DONE)

    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(320)
        await asyncio.sleep(0.2)
        raise LookupError("the microphone is gone")

    async def collect(url: str, source: Any, kinds: list[str]) -> None:
        async with connect(url) as stream:
            async for event in stream.feed(source):
                kinds.append(event.type)

    async with scripted(script) as url:
        kinds: list[str] = []
        await collect(url, [bytes(320)] * 3, kinds)
        assert kinds == ["transcript"] * 3 + ["done"]
        seen: list[str] = []
        with pytest.raises(LookupError, match="microphone"):
            await collect(url, breaking(), seen)
        assert seen == ["transcript"]


async def test_refusals_say_what_to_do(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectionFailed, match="voicewire serve"):
        async with connect(f"127.0.0.1:{unused_tcp_port}"):
            pass
    for nonsense in ("ftp://somewhere", "ws://", "ws://host:port"):
        with pytest.raises(ConnectionFailed, match="no address"):
            async with connect(nonsense):
                pass
    with pytest.raises(SettingError, match="sample_rate"):
        async with connect("127.0.0.1", sample_rate=4000):
            pass

    async def full(socket: ServerConnection) -> None:
        await hear(socket)
        await say(socket, {"type": "error", "code": "capacity", "message": "all 8 slots are taken"})

    async with scripted(full) as url:
        with pytest.raises(ServerError, match="slots") as caught:
            async with connect(url):
                pass
        assert caught.value.code == "capacity"

    async def mute(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with scripted(mute) as url:
        with pytest.raises(ConnectionFailed, match="did not answer"):
            async with connect(url, open_timeout_s=0.3):
                pass


async def test_another_kind_of_server_is_recognised() -> None:
    def not_here(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(404, "nothing here\n")

    async def never(socket: ServerConnection) -> None: ...

    def full(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(503, json.dumps({"code": "capacity", "message": "all 8 slots are in use"}))

    async with serve(never, "127.0.0.1", 0, process_request=full) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ServerError, match="all 8 slots") as caught:
            async with connect(f"ws://127.0.0.1:{port}"):
                pass
        assert caught.value.code == "capacity"

    async with serve(never, "127.0.0.1", 0, process_request=not_here) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailed, match="404"):
            async with connect(f"ws://127.0.0.1:{port}"):
                pass

    async def not_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(not_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailed, match="no voicewire server"):
            async with connect(f"ws://127.0.0.1:{port}"):
                pass


async def test_the_synchronous_stream_is_the_same_stream() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        seq = 0
        while True:
            message = await hear(socket)
            seq += 1
            if isinstance(message, bytes):
                await say(socket, transcript(seq, f" {len(message)}", 0.1 * seq))
            elif message["type"] == "flush":
                await say(
                    socket, {"type": "flushed", "seq": seq, "id": message["id"], "audio_processed": 1.0}
                )
            elif message["type"] == "close":
                await say(socket, DONE)
                return

    def use(url: str) -> list[str]:
        with sync.connect(url) as stream:
            assert stream.poll() == []
            stream.send(np.zeros(100, np.float32))
            (event,) = stream.poll(timeout_s=5.0)
            assert event.type == "transcript"
            assert stream.flush("f").id == "f"
            assert [event.type for event in stream.poll()] == ["flushed"]
            kinds = [event.type for event in stream.feed([bytes(20), bytes(40)])]
            assert stream.poll() == []
            with pytest.raises(StreamClosed):
                stream.send(b"\0\0")
            return kinds

    async with scripted(script) as url:
        assert await asyncio.to_thread(use, url) == ["transcript", "transcript", "done"]


async def test_the_synchronous_feed_ends_with_what_ended_the_stream() -> None:
    async def script(socket: ServerConnection) -> None:
        await greet(socket)
        await hear(socket)
        await say(socket, transcript(1, " last", 0.1))
        await say(socket, {"type": "error", "code": "shutting_down", "message": "bye"})

    kinds: list[str] = []

    def use(url: str) -> None:
        with sync.connect(url) as stream:
            for event in stream.feed(bytes(20) for _ in range(1_000_000)):
                kinds.append(event.type)

    async with scripted(script) as url:
        with pytest.raises(ServerError, match="bye"):
            await asyncio.to_thread(use, url)
    assert kinds == ["transcript"]


def test_samples_become_the_bytes_of_their_encoding() -> None:
    samples = np.array([0.0, 0.5, -1.0, 2.0, np.nan], np.float32)
    assert np.frombuffer(pcm_bytes(samples, "pcm_s16le"), "<i2").tolist() == [0, 16384, -32767, 32767, 0]
    assert np.array_equal(np.frombuffer(pcm_bytes(samples[:4], "pcm_f32le"), "<f4"), samples[:4])
    whole = np.array([-32768, 0, 16384], np.int16)
    assert np.frombuffer(pcm_bytes(whole, "pcm_s16le"), "<i2").tolist() == whole.tolist()
    assert np.frombuffer(pcm_bytes(whole, "pcm_f32le"), "<f4").tolist() == [-1.0, 0.0, 0.5]
    stereo = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert np.frombuffer(pcm_bytes(stereo, "pcm_s16le", 2), "<i2").tolist() == [0, 32767, 32767, 0]
    assert pcm_bytes(np.zeros((5, 1), np.float64), "pcm_s16le") == bytes(10)


@pytest.mark.parametrize(
    ("samples", "encoding", "channels"),
    [
        (np.zeros(4, np.float32), "opus", 1),
        (np.zeros(4, np.int32), "pcm_s16le", 1),
        (np.zeros((4, 2), np.float32), "pcm_s16le", 1),
        (np.zeros(4, np.float32), "pcm_s16le", 2),
        (np.zeros((4, 3), np.float32), "pcm_s16le", 2),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples: Any, encoding: str, channels: int) -> None:
    with pytest.raises(AudioFormatError):
        pcm_bytes(samples, encoding, channels)


@pytest.mark.parametrize(
    ("text", "stream", "page"),
    [
        ("host", "ws://host:8765/v1/stream", "http://host:8765/readyz"),
        ("host:9", "ws://host:9/v1/stream", "http://host:9/readyz"),
        ("ws://host:9/", "ws://host:9/v1/stream", "http://host:9/readyz"),
        ("http://host", "ws://host/v1/stream", "http://host/readyz"),
        ("wss://host/other/path", "wss://host/other/path", "https://host/readyz"),
        ("[::1]:9", "ws://[::1]:9/v1/stream", "http://[::1]:9/readyz"),
    ],
)
def test_addresses_as_people_type_them(text: str, stream: str, page: str) -> None:
    address = Address.parse(text)
    assert address.stream_url == stream
    assert address.http_url("/readyz") == page
