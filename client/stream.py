"""One stream of audio to a server and what the server makes of it, over one websocket; `connect` opens it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from voicewire.client.errors import ClientError, ConnectionLost, ServerError, SettingError, StreamClosed
from voicewire.client.link import Link
from voicewire.client.pcm import SAMPLE_BYTES, Samples, pcm_bytes, seconds_of
from voicewire.client.tokens import Event, TokenReceiver, TokensEvent
from voicewire.client.wire import checked
from voicewire.streaming.messages import (
    Close,
    Configure,
    Configured,
    Done,
    Error,
    Flush,
    FlushedMessage,
    KeepAlive,
    Ready,
    ServerMessage,
    Settings,
    TranscriptMessage,
)

if TYPE_CHECKING:
    from voicewire.codecs import Hello

Audio: TypeAlias = bytes | bytearray | memoryview | Samples
Value = TypeVar("Value")

# One websocket message holds at most so much: small enough that a flush or a close behind it need not wait, and
# that compressed audio of the lowest rates is still only seconds.
PIECE_BYTES = 64 * 1024
COMPRESSED_PIECE_BYTES = 4 * 1024
# A stream that sends faster than the server listens waits when it is so far ahead, unless told otherwise.
BACKLOG_S = 10.0
# A smaller backlog could be audio that waits for the rest of its block, which no waiting would shorten.
LEAST_BACKLOG_S = 2.0


class Stream:
    """One session with a server; `voicewire.client.connect` opens it.

    Iterating over it gives the server's messages, the models of `voicewire.streaming.messages`, and `TokensEvent`
    where tokens were asked for, and ends after `Done`. They wait in memory until they are read (a few kB per
    second of audio), so a program may send everything first and read afterwards. One task may send while another
    reads. Where a connection was lost and the session goes on over another, `Resumed` is among the messages.

    Attributes:
        ready: the server's answer to `start`: model, settings, limits.
        settings: what is in force now.
    """

    def __init__(self, link: Link, ready: Ready, max_backlog_s: float | None = None) -> None:
        self.ready = ready
        self.settings: Settings = ready.settings
        self._link = link
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._tokens = TokenReceiver()
        self._progress = asyncio.Event()
        self._flushes: dict[str | int, asyncio.Future[FlushedMessage]] = {}
        self._configures: deque[asyncio.Future[Configured]] = deque()
        self._done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        self._failure_raised = False
        self._closing = False
        self._flush_count = 0
        self._sent_bytes = 0
        self._half = b""
        self._received_s = 0.0
        self._processed_s = 0.0
        self._last_sent_at = time.monotonic()
        self._send_lock = asyncio.Lock()
        limit = min(BACKLOG_S, ready.limits.buffered_s / 2) if max_backlog_s is None else max_backlog_s
        self._max_backlog_s = max(limit, LEAST_BACKLOG_S)
        self._reader = asyncio.create_task(self._read(), name="voicewire-read")

    # ---- sending

    async def send(self, audio: Audio) -> None:
        """Sends audio of any length: bytes in the stream's encoding, or an array of samples.

        An array is ``(samples,)`` or ``(samples, channels)``, floats from -1 to 1 or int16. Bytes may be cut
        anywhere, but for ``opus`` and ``tokens``, where each call sends one packet or record. Waits while the
        server is further behind than the stream's `max_backlog_s`.

        Raises:
            AudioFormatError: the array does not fit the stream.
            StreamClosed: `close` was called before.
            ServerError, ConnectionLost: the session is over.
        """
        if isinstance(audio, bytes | bytearray | memoryview):
            data = bytes(audio)
        else:
            data = pcm_bytes(audio, self.settings.encoding, self.settings.channels)
        async with self._send_lock:
            for piece in self._pieces(data):
                await self._wait_for_room()
                await self._put(piece)
                self._sent_bytes += len(piece)

    async def feed(self, source: Iterable[Audio] | AsyncIterable[Audio]) -> AsyncIterator[Event]:
        """Sends a source of audio in the background, then closes, and gives the events meanwhile.

        `source` gives pieces of audio. An ordinary iterable is read in the event loop, so it must not wait for
        anything slower than a file; an async one may. An error that it raises comes out of the iteration, after
        the events that were there before.
        """
        sender = asyncio.create_task(self._send_all(source), name="voicewire-feed")
        try:
            async for event in self:
                yield event
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def flush(self, flush_id: str | int | None = None) -> FlushedMessage:
        """Asks for every word and token of the audio sent so far, and waits until they have come.

        The stream goes on; tokens do so without a seam.

        Args:
            flush_id: a name for this flush, to find it among the events; left out, one is made up.

        Returns:
            the server's answer; words and tokens came before it and can be read by iterating.
        """
        if flush_id is None:
            self._flush_count += 1
            flush_id = f"flush-{self._flush_count}"
        if flush_id in self._flushes:
            raise SettingError(f"a flush called {flush_id!r} is still under way: choose another id")
        answer = self._flushes[flush_id] = asyncio.get_running_loop().create_future()
        try:
            await self.request_flush(flush_id)
            return await self._answered(answer)
        finally:
            del self._flushes[flush_id]

    async def request_flush(self, flush_id: str | int | None = None) -> None:
        """Asks for a flush and goes on: its `flushed` is among the events, behind the words that it brings."""
        request = checked(Flush, id=flush_id)
        async with self._send_lock:
            await self._put(request.model_dump_json())

    async def configure(
        self,
        *,
        chunk_ms: int | None = None,
        commit_ms: int | None = None,
        endpoint_ms: int | None = None,
        bitrate_kbps: float | None = None,
        refine: bool | None = None,
    ) -> Settings:
        """Changes settings while the stream runs; gives what is in force from here on.

        Raises SettingError for a value outside the protocol's limits, before anything is sent.
        """
        request = checked(
            Configure,
            chunk_ms=chunk_ms,
            commit_ms=commit_ms,
            endpoint_ms=endpoint_ms,
            bitrate_kbps=bitrate_kbps,
            refine=refine,
        )
        answer: asyncio.Future[Configured] = asyncio.get_running_loop().create_future()
        async with self._send_lock:
            await self._put(request.model_dump_json(exclude_none=True))
            self._configures.append(answer)
        return (await self._answered(answer)).settings

    async def keepalive(self) -> None:
        """Holds an idle session open; `connect(keepalive=True)` does this by itself."""
        async with self._send_lock:
            await self._put(KeepAlive().model_dump_json())

    async def close(self, timeout_s: float = 60.0) -> Done:
        """Says that no more audio comes, waits for the last words and for `done`, and closes the connection.

        The last words stay to be read by iterating. A second call gives the same answer.

        Raises:
            ConnectionLost: no `done` came within `timeout_s` seconds, or the connection broke.
            ServerError: the server ended the session instead.
        """
        async with self._send_lock:
            if not self._closing and not self._done.done():
                await self._put(Close().model_dump_json())
                self._closing = True
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait([self._done])
        except TimeoutError:
            self._end(ConnectionLost(f"the server did not say done within {timeout_s:g} s of close"))
        await self._release()
        self._raise_failure()
        return self._done.result()

    async def abort(self) -> None:
        """Drops the connection; words that have not come yet are lost."""
        self._end(StreamClosed("the stream was dropped before the server had said done"))
        self._failure_raised = True  # whoever drops it knows
        await self._release()

    # ---- reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self.next_event()
        if event is None:
            raise StopAsyncIteration
        return event

    async def next_event(self) -> Event | None:
        """The next event, waiting for it; None after `Done`. Raises what else ended the stream."""
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)  # the end stays the end for everyone who asks again
            self._raise_failure()
        return event

    async def poll(self, timeout_s: float = 0.0) -> list[Event]:
        """The events that have come, after waiting for the first of them for at most `timeout_s` seconds."""
        events: list[Event] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                first = await self.next_event()
            if first is None:
                return []
            events.append(first)
        while not self._events.empty():
            event = self._events.get_nowait()
            if event is None:
                self._events.put_nowait(None)
                break
            events.append(event)
        return events

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, or it was lost and another one is being made."""
        return self._link.connected

    @property
    def hello(self) -> "Hello | None":
        """What the stream's tokens are of, for whoever keeps them; None before it has come."""
        return self._tokens.hello

    @property
    def sent_s(self) -> float | None:
        """How much audio was sent, in seconds; None for a compressed encoding."""
        settings = self.settings
        return seconds_of(self._sent_bytes, settings.encoding, settings.sample_rate, settings.channels)

    @property
    def backlog_s(self) -> float:
        """How much of the audio sent the server has not looked at yet, as far as is known here."""
        sent_s = self.sent_s
        return max(0.0, (self._received_s if sent_s is None else sent_s) - self._processed_s)

    # ---- inside

    async def _send_all(self, source: Iterable[Audio] | AsyncIterable[Audio]) -> None:
        try:
            if isinstance(source, AsyncIterable):
                async for audio in source:
                    await self.send(audio)
            else:
                for audio in source:
                    await self.send(audio)
                    await asyncio.sleep(
                        0
                    )  # sending need not wait for anything, and others are to have their turn
            await self.close()
        except Exception as error:  # whatever the source raised: the reader of the events is to learn of it
            self._end(error)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """The data as messages of a bearable size; half a sample at the end waits for its other half."""
        settings = self.settings
        frame = SAMPLE_BYTES.get(settings.encoding, 1) * settings.channels
        if settings.encoding in ("opus", "tokens"):
            size = max(1, len(data))
        elif settings.encoding in SAMPLE_BYTES:
            data = self._half + data
            whole = len(data) - len(data) % frame
            data, self._half = data[:whole], data[whole:]
            size = min(PIECE_BYTES, self.ready.limits.message_bytes) // frame * frame
        else:
            size = min(COMPRESSED_PIECE_BYTES, self.ready.limits.message_bytes)
        return (data[start : start + size] for start in range(0, len(data), size))

    async def _wait_for_room(self) -> None:
        while self.backlog_s >= self._max_backlog_s and not self._done.done():
            self._progress.clear()
            await self._progress.wait()

    async def _put(self, data: str | bytes) -> None:
        self._raise_failure()
        if self._closing or self._done.done():
            raise StreamClosed("the stream is closed: open another one with connect()")
        try:
            await self._link.send(data)
        except ConnectionLost as error:
            # The reader sees the same end, and before it the server's reason if there was one.
            await asyncio.wait([self._reader])
            self._raise_failure()
            raise StreamClosed("the server has ended the stream: open another one with connect()") from error
        self._last_sent_at = time.monotonic()

    async def _answered(self, answer: asyncio.Future[Value]) -> Value:
        """Waits for an answer, or for the end of the stream, whichever is first."""
        either: list[asyncio.Future[Any]] = [answer, self._done]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            self._raise_failure()
            raise StreamClosed("the stream was closed before the server had answered")
        return answer.result()

    async def _read(self) -> None:
        try:
            async for message in self._link.messages():
                event = self._tokens.take(message) if isinstance(message, bytes) else message
                if isinstance(event, TokensEvent):
                    self._take_tokens(event)
                elif event is not None:
                    self._take(event)
        except ClientError as error:
            self._end(error)

    def _take(self, message: ServerMessage) -> None:
        if isinstance(message, Error):
            self._end(ServerError(message.code, message.message))
            return
        if isinstance(message, TranscriptMessage):
            self._received_s = message.audio_received
            self._note_progress(message.audio_processed)
        elif isinstance(message, FlushedMessage):
            self._note_progress(message.audio_processed)
            if message.id in self._flushes:
                _resolve(self._flushes[message.id], message)
        elif isinstance(message, Configured):
            self.settings = message.settings
            if self._configures:
                _resolve(self._configures.popleft(), message)
        self._events.put_nowait(message)
        if isinstance(message, Done):
            self._end(message)

    def _take_tokens(self, event: TokensEvent) -> None:
        if "words" not in self.settings.outputs:
            self._note_progress(event.end_s)
        self._events.put_nowait(event)

    def _note_progress(self, processed_s: float) -> None:
        self._processed_s = max(self._processed_s, processed_s)
        self._progress.set()

    def _end(self, outcome: Done | Exception) -> None:
        """Ends the stream for everyone who waits; only the first call counts."""
        if self._done.done():
            return
        if isinstance(outcome, Done):
            self._done.set_result(outcome)
        else:
            self._failure = outcome
            self._done.cancel()
        self._progress.set()
        self._events.put_nowait(None)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_raised = True
            raise self._failure

    async def _release(self) -> None:
        await self._link.close()
        self._reader.cancel()  # it may be waiting for a connection that nobody needs any more
        await asyncio.wait([self._reader])

    async def leave(self) -> None:
        """The end of `connect`'s block: closes what still runs, and passes no failure over in silence."""
        if not self._done.done():
            await self.close()
            return
        await self._release()
        if not self._failure_raised:
            self._raise_failure()

    async def hold_open(self) -> None:
        """Sends a keepalive whenever nothing has been sent for a third of what the server allows; never ends."""
        pause_s = max(0.05, self.ready.limits.idle_s / 3)
        with suppress(ClientError):
            while True:
                idle_s = time.monotonic() - self._last_sent_at
                if idle_s >= pause_s:
                    await self.keepalive()
                else:
                    await asyncio.sleep(pause_s - idle_s)


def _resolve(future: asyncio.Future[Value], value: Value) -> None:
    if not future.done():
        future.set_result(value)
