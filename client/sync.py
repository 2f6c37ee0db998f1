"""The client for programs without asyncio: the same stream, driven by a loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from voicewire.client import connection
from voicewire.client.errors import ClientError, StreamClosed
from voicewire.client.stream import Audio, Stream
from voicewire.client.tokens import Event
from voicewire.streaming.messages import Done, Encoding, FlushedMessage, Output, Ready, Settings

if TYPE_CHECKING:
    from voicewire.codecs import Hello

Value = TypeVar("Value")


class SyncStream:
    """One session with a server, for ordinary code; `voicewire.client.sync.connect` opens it.

    The methods are those of `voicewire.client.Stream` and raise the same errors. Iterating waits for events;
    `poll` takes only what is there, for a loop that sends and reads in one thread. Another thread may read
    while one sends.
    """

    def __init__(self, stream: Stream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    @property
    def ready(self) -> Ready:
        return self._stream.ready

    @property
    def settings(self) -> Settings:
        return self._stream.settings

    @property
    def hello(self) -> "Hello | None":
        return self._stream.hello

    @property
    def backlog_s(self) -> float:
        return self._stream.backlog_s

    def send(self, audio: Audio) -> None:
        """Sends audio of any length; waits while the server is too far behind."""
        self._run(self._stream.send(audio))

    def flush(self, flush_id: str | int | None = None) -> FlushedMessage:
        """Waits until every word and token of the audio sent so far has come."""
        return self._run(self._stream.flush(flush_id))

    def configure(
        self,
        *,
        chunk_ms: int | None = None,
        commit_ms: int | None = None,
        endpoint_ms: int | None = None,
        bitrate_kbps: float | None = None,
        refine: bool | None = None,
    ) -> Settings:
        """Changes settings while the stream runs."""
        return self._run(
            self._stream.configure(
                chunk_ms=chunk_ms,
                commit_ms=commit_ms,
                endpoint_ms=endpoint_ms,
                bitrate_kbps=bitrate_kbps,
                refine=refine,
            )
        )

    def keepalive(self) -> None:
        """Holds an idle session open."""
        self._run(self._stream.keepalive())

    def close(self, timeout_s: float = 60.0) -> Done:
        """Says that no more audio comes and waits for the last words; they stay to be read."""
        return self._run(self._stream.close(timeout_s))

    def poll(self, timeout_s: float = 0.0) -> list[Event]:
        """The events that have come, after waiting for the first of them for at most `timeout_s` seconds.

        Empty when there are none, and after the end. Raises what ended the stream, once its events are read.
        """
        return self._run(self._stream.poll(timeout_s))

    def feed(self, source: Iterable[Audio]) -> Iterator[Event]:
        """Sends a source of audio, then closes, and gives the events meanwhile.

        The source is asked for its next piece in the calling thread, and events are given between the pieces.
        """
        for audio in source:
            try:
                self.send(audio)
            except ClientError:
                break  # iterating gives what came before it, and then raises it
            yield from self.poll()
        else:
            with suppress(ClientError):
                self.close()
        yield from self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._run(self._stream.next_event())
        if event is None:
            raise StopIteration
        return event

    def _run(self, call: Coroutine[Any, Any, Value]) -> Value:
        if self._loop.is_closed():
            call.close()
            raise StreamClosed("the stream's block is over: open another one with connect()")
        return _run(self._loop, call)


@contextmanager
def connect(
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
) -> Iterator[SyncStream]:
    """Opens a stream to a voicewire server, for ordinary code::

        from voicewire.client import sync

        with sync.connect("ws://127.0.0.1:8765", sample_rate=16_000) as stream:
            for event in stream.feed(pieces_of_audio):
                if event.type == "transcript":
                    print(event.text, end="", flush=True)

    Arguments and errors are those of `voicewire.client.connect`. The block's end closes the stream properly; an
    exception inside drops it.
    """
    with _loop_in_a_thread() as loop:
        opening = connection.connect(
            url,
            encoding=encoding,
            sample_rate=sample_rate,
            channels=channels,
            language=language,
            chunk_ms=chunk_ms,
            commit_ms=commit_ms,
            endpoint_ms=endpoint_ms,
            interim=interim,
            words=words,
            outputs=outputs,
            codec=codec,
            bitrate_kbps=bitrate_kbps,
            keyterms=keyterms,
            refine=refine,
            keepalive=keepalive,
            max_backlog_s=max_backlog_s,
            resume=resume,
            api_key=api_key,
            open_timeout_s=open_timeout_s,
        )
        stream = _run(loop, opening.__aenter__())
        try:
            yield SyncStream(stream, loop)
        except BaseException as error:
            _run(loop, opening.__aexit__(type(error), error, error.__traceback__))
            raise
        else:
            _run(loop, opening.__aexit__(None, None, None))


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="voicewire-client", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, Value]) -> Value:
    return asyncio.run_coroutine_threadsafe(call, loop).result()
