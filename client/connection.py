"""Opening a stream: the handshake with a server, and what to say when there is none."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from voicewire.client.address import Address
from voicewire.client.errors import ClientError, ConnectionFailed, ProtocolError, ServerError
from voicewire.client.link import Link, ResumableLink
from voicewire.client.stream import Stream
from voicewire.client.wire import checked, parsed
from voicewire.streaming.messages import (
    PROTOCOL_VERSION,
    Encoding,
    Error,
    Output,
    Ready,
    Resume,
    Resumed,
    Start,
)

Answer = TypeVar("Answer", Ready, Resumed)

# How long a closing handshake may take before the connection is dropped.
CLOSE_TIMEOUT_S = 3.0
# A server that holds a client back answers no pings meanwhile; one that is gone answers none at all.
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 60.0
# Where a session can be gone on with, a connection that is given up too early costs little, and a dead one that is
# found too late costs the session.
RESUMABLE_PING_S = 10.0


@asynccontextmanager
async def connect(
    url: str,
    *,
    encoding: Encoding = "pcm_s16le",
    sample_rate: int = 16_000,
    channels: int = 1,
    language: str = "en",
    chunk_ms: int | None = None,
    commit_ms: int | None = None,
    endpoint_ms: int = 700,
    interim: bool = True,
    words: bool = True,
    outputs: Sequence[Output] | None = None,
    codec: str | None = None,
    bitrate_kbps: float | None = None,
    keyterms: Sequence[str] = (),
    refine: bool = False,
    keepalive: bool = False,
    max_backlog_s: float | None = None,
    resume: bool = True,
    api_key: str | None = None,
    open_timeout_s: float = 10.0,
) -> AsyncIterator[Stream]:
    """Opens a stream to a voicewire server::

        async with connect("ws://127.0.0.1:8765", sample_rate=16_000) as stream:
            async for event in stream.feed(pieces_of_audio):
                if event.type == "transcript":
                    print(event.text, end="", flush=True)

    or, piece by piece::

        async with connect("ws://127.0.0.1:8765") as stream:
            await stream.send(samples)              # bytes, or an array
            await stream.flush()                    # every word of it has come
            done = await stream.close()             # the rest, then done.totals
            async for event in stream: ...

    The block's end closes the stream properly; an exception inside drops it.

    Args:
        url: ``ws://HOST:PORT``, ``wss://HOST``, or ``HOST:PORT``.
        encoding: what the audio sent is: raw samples, a compressed stream in bytes, or records of tokens.
        sample_rate: 8,000 to 48,000 Hz.
        channels: 1, or 2, which the server averages.
        language: the language that is spoken, as Whisper's code for it.
        chunk_ms: how often the server looks at new audio, 100 to 300; None is the server's own default.
        commit_ms: the length of a committed block, 100 to 1200: longer is more accurate and later.
        endpoint_ms: a pause of this length ends an utterance.
        interim: whether to be sent a tail: words that may still change.
        words: whether to be sent words with times; without, transcripts carry text alone.
        outputs: what is to be made of the audio: ``["words"]``, ``["tokens"]`` or both; None is words.
        codec: what makes the tokens; None is ``lyra_v2``.
        bitrate_kbps: of the tokens, one that the codec has; None is its highest.
        keyterms: names and terms that are likely to be said, as they are to be written; at most 100.
        refine: whether what was said is to be heard once more by unmodified Whisper, which `refined` events tell.
        keepalive: hold the session open while nothing is sent, beyond the server's idle limit.
        max_backlog_s: `send` waits while the server is so many seconds of audio behind, at least 2. None is 10,
            or half of what the server buffers where that is less.
        resume: where the connection is lost, connect again and go on where it stopped, for as long as the server
            waits; the session keeps its slot meanwhile.
        api_key: for a server that asks for one.
        open_timeout_s: how long the server may take to answer.

    Raises:
        ConnectionFailed: nothing listens there, or it is no voicewire server.
        ServerError: the server refuses the session; `code` is ``capacity`` when all its slots are taken.
        SettingError: a setting lies outside the protocol's limits.
    """
    newer = {
        "outputs": None if outputs is None else list(outputs),
        "codec": codec,
        "bitrate_kbps": bitrate_kbps,
        "keyterms": list(keyterms) or None,
        "refine": refine or None,
    }
    start = checked(
        Start,
        type="start",
        version=PROTOCOL_VERSION,
        encoding=encoding,
        sample_rate=sample_rate,
        channels=channels,
        language=language,
        chunk_ms=chunk_ms,
        commit_ms=commit_ms,
        endpoint_ms=endpoint_ms,
        interim=interim,
        words=words,
        # A server that does not know them yet would refuse these.
        **{name: value for name, value in newer.items() if value is not None},
        **({"resume": True} if resume else {}),
    )
    address = Address.parse(url)
    socket, ready = await _shake_hands(address, start, Ready, open_timeout_s, api_key)
    link = Link(socket)
    if ready.resume is not None:
        back = address.returning(ready.resume.server)
        link = ResumableLink(socket, ready.resume, partial(_reopen, back, open_timeout_s, api_key))
    stream = Stream(link, ready, max_backlog_s)
    holder = asyncio.create_task(stream.hold_open(), name="voicewire-keepalive") if keepalive else None
    try:
        yield stream
    except BaseException:
        await stream.abort()
        raise
    else:
        await stream.leave()
    finally:
        if holder is not None:
            holder.cancel()


async def _reopen(
    address: Address, timeout_s: float, api_key: str | None, request: Resume, left_s: float
) -> tuple[ClientConnection, Resumed]:
    return await _shake_hands(address, request, Resumed, min(timeout_s, left_s), api_key)


async def _shake_hands(
    address: Address, first: Start | Resume, expected: type[Answer], timeout_s: float, api_key: str | None
) -> tuple[ClientConnection, Answer]:
    """A connection on which the first message has its answer."""
    socket: ClientConnection | None = None
    resumable = not isinstance(first, Start) or first.resume
    try:
        async with asyncio.timeout(timeout_s):
            socket = await open_websocket(
                address.stream_url,
                compression=None,  # PCM does not get smaller by deflating, and messages are short
                additional_headers=None if api_key is None else {"Authorization": f"Bearer {api_key}"},
                open_timeout=None,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=RESUMABLE_PING_S if resumable else PING_INTERVAL_S,
                ping_timeout=RESUMABLE_PING_S if resumable else PING_TIMEOUT_S,
                proxy=None if address.is_local else True,
            )
            await socket.send(first.model_dump_json(exclude_none=True, exclude_unset=True))
            answer = parsed(await socket.recv(decode=True))
        if isinstance(answer, expected):
            return socket, answer
        if isinstance(answer, Error):
            raise ServerError(answer.code, answer.message)
        raise ProtocolError(f"{address.stream_url} answered {first.type} with {answer!r}")
    except BaseException as error:
        if socket is not None:
            await socket.close()
        failure = _connection_failed(address, error, timeout_s)
        if failure is None:
            raise
        raise failure from error


def _connection_failed(address: Address, error: BaseException, timeout_s: float) -> ClientError | None:
    """What to say of an error on the way to a session; None where the error says it itself."""
    url = address.stream_url
    if isinstance(error, TimeoutError):
        return ConnectionFailed(
            f"{url} did not answer within {timeout_s:g} s: is it a voicewire server, and has it loaded its model? "
            "`voicewire doctor --url` asks it"
        )
    if isinstance(error, InvalidStatus):
        try:
            refusal = Error.model_validate_json(error.response.body or b"")
        except ValidationError:
            status = error.response.status_code
            return ConnectionFailed(f"{url} answered with HTTP status {status}: is it a voicewire server?")
        return ServerError(refusal.code, refusal.message)
    if isinstance(error, InvalidHandshake | ConnectionClosed):
        return ConnectionFailed(f"{url} is no voicewire server: {error}")
    if isinstance(error, OSError):
        return ConnectionFailed(
            f"nothing answers at {url} ({error.strerror or error}): is the server running? "
            "Start one with `voicewire serve`"
        )
    return None
