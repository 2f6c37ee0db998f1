"""A source of audio at the pace of speech: a file played as if it were a microphone, or a microphone itself."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from voicewire.client.audio_files import Block
from voicewire.streaming.messages import Encoding

# Well under the 300 ms that a server looks at in one go, so that the pieces themselves add little delay.
PIECE_S = 0.1
# How far reading may run ahead of playing.
AHEAD_PIECES = 20


# A block of samples, or a record of tokens.
Piece: TypeAlias = Block | bytes


class AudioSource(Protocol):
    """What can be played: an `AudioFile`, a `Microphone` or a `TokenRecording`."""

    name: str
    encoding: Encoding
    sample_rate: int
    duration_s: float | None

    def blocks(self, block_s: float = ...) -> Iterator[Piece]: ...
    def seconds_of(self, piece: Any, /) -> float: ...
    def close(self) -> None: ...


class Playback:
    """Plays a source once.

    Args:
        source: closed when it was played, or when the playback is stopped.
        speed: 1 is the pace of speech, 2 is twice as fast, 0 is as fast as pieces are taken.
        live: the source has a pace of its own (a microphone, a pipe), which is kept.

    Attributes:
        position_s: audio given so far.
    """

    def __init__(self, source: AudioSource, *, speed: float = 1.0, live: bool = False) -> None:
        self.source = source
        self.position_s = 0.0
        self._speed = speed
        self._live = live
        self._zero_at: float | None = None
        self._stopped = threading.Event()
        self._pieces: asyncio.Queue[Piece | Exception | None] = asyncio.Queue(AHEAD_PIECES)

    @property
    def is_paced(self) -> bool:
        """Whether the audio has a clock that delays can be measured by."""
        return self._speed > 0 or self._live

    def since_spoken(self, audio_s: float) -> float:
        """How long ago, in seconds of the wall clock, the audio at `audio_s` was spoken."""
        if self._zero_at is None:
            return 0.0
        return time.monotonic() - self._zero_at - audio_s / (self._speed or 1.0)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The audio in pieces of PIECE_S, each when its last sample has been spoken.

        Raises what the source raises.
        """
        loop = asyncio.get_running_loop()
        # A thread of its own: reading a pipe may block for ever, which must hold up neither the loop nor its end.
        threading.Thread(target=self._read, args=(loop,), name="voicewire-audio", daemon=True).start()
        self._zero_at = time.monotonic()
        while True:
            piece = await self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                return
            self.position_s += self.source.seconds_of(piece)
            await self._wait_for_its_time()
            if self._stopped.is_set():
                return
            yield piece

    def stop(self) -> None:
        """Ends the pieces soon, as if the source had ended. To be called in the loop's thread."""
        self._stopped.set()
        while not self._pieces.empty():
            self._pieces.get_nowait()
        self._pieces.put_nowait(None)

    async def _wait_for_its_time(self) -> None:
        assert self._zero_at is not None
        now = time.monotonic()
        speed = self._speed or 1.0
        due = self._zero_at + self.position_s / speed
        if self._live:
            # What comes late was spoken late: a speaker who paused, a pipe that began to run after a while.
            self._zero_at = max(self._zero_at, now - self.position_s / speed)
        if self._speed and due > now:
            await asyncio.sleep(due - now)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        def put(piece: Piece | Exception | None) -> None:
            asyncio.run_coroutine_threadsafe(self._pieces.put(piece), loop).result()

        # The loop may be gone by the time that a pipe gives its next bytes.
        with suppress(RuntimeError, asyncio.CancelledError):
            try:
                for piece in self.source.blocks(PIECE_S):
                    if self._stopped.is_set():
                        break
                    put(piece)
                put(None)
            except Exception as error:
                put(error)
            finally:
                self.source.close()
