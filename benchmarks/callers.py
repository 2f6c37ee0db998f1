"""Many clients of one server, each at the pace of a microphone, cheap enough to run hundreds in one thread."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from benchmarks.speech_tars import SAMPLE_RATE

PIECE_S = 0.06
_PIECE_BYTES = round(PIECE_S * SAMPLE_RATE) * 2
_START = {"type": "start", "encoding": "pcm_s16le", "sample_rate": SAMPLE_RATE}
_PATIENCE_S = 30.0
SPREAD_S = 3.0


@dataclass(slots=True)
class Heard:
    """What one client saw in the time that counts.

    Attributes:
        committed_s: for each committed word, wall-clock seconds from its end, as played, to its arrival.
        shown_s: the same for the first word of a tail that was not there before, committed or not.
        buffered_ms: the server's own word on how far behind it is, as often as it said so.
        late_s: how late the client itself was in sending each piece: what the load of its own machine does.
        refused: whether the server had no place.
        error: what ended it too early.
    """

    committed_s: list[float] = field(default_factory=list)
    shown_s: list[float] = field(default_factory=list)
    buffered_ms: list[int] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    refused: bool = False
    error: str = ""


class Caller:
    """One client.

    Args:
        url: of the server's websocket.
        speech: what it says again and again, int16 of shape (samples,) at 16 kHz.
        settings: further fields of its `start`.
    """

    def __init__(self, url: str, speech: np.ndarray, settings: dict[str, Any]) -> None:
        self._url = url
        self._audio = speech.astype("<i2").tobytes()
        self._settings = settings
        self.heard = Heard()
        self._began = 0.0
        self._counts = (0.0, 0.0)
        self._furthest_s = 0.0

    async def call(self, begin_s: float, warm_up_s: float, seconds: float) -> None:
        """Connects after `begin_s` and speaks for `warm_up_s`, which does not count, and `seconds`, which do."""
        await asyncio.sleep(begin_s)
        try:
            async with connect(self._url, max_size=None, ping_interval=None, compression=None) as websocket:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._greet(websocket)
                self._began = time.perf_counter()
                self._counts = (self._began + warm_up_s, self._began + warm_up_s + seconds)
                listener = asyncio.create_task(self._listen(websocket))
                await self._speak(websocket, warm_up_s + seconds)
                listener.cancel()
        except InvalidStatus as refusal:
            self.heard.refused = refusal.response.status_code == 503
            self.heard.error = "" if self.heard.refused else str(refusal)
        except (WebSocketException, OSError, TimeoutError) as error:
            self.heard.error = str(error) or type(error).__name__

    async def _greet(self, websocket: ClientConnection) -> None:
        """Until the server takes audio."""
        await websocket.send(json.dumps({**_START, **self._settings}))
        await websocket.recv()

    async def _speak(self, websocket: ClientConnection, seconds: float) -> None:
        for number in range(round(seconds / PIECE_S)):
            due = self._began + (number + 1) * PIECE_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            at = number * _PIECE_BYTES % len(self._audio)
            await websocket.send(self._audio[at : at + _PIECE_BYTES])
            if due >= self._counts[0]:
                self.heard.late_s.append(time.perf_counter() - due)

    async def _listen(self, websocket: ClientConnection) -> None:
        async for message in websocket:
            if isinstance(message, str):
                self._take(message, time.perf_counter())

    def _take(self, message: str, now: float) -> None:
        if '"transcript"' not in message[:40] or not self._counts[0] <= now <= self._counts[1]:
            return
        transcript = json.loads(message)
        played_s = now - self._began
        self.heard.committed_s += [played_s - word["end"] for word in transcript["words"]]
        self.heard.buffered_ms.append(transcript.get("buffered_ms", 0))
        for word in [*transcript["words"], *transcript.get("tail", [])]:
            if word["start"] >= self._furthest_s:
                self.heard.shown_s.append(played_s - word["end"])
                self._furthest_s = word["end"]


async def call_all(
    callers: Sequence[Caller], warm_up_s: float, seconds: float, spread_s: float = SPREAD_S
) -> None:
    """All at once, but for their beginnings, which lie `spread_s` apart from first to last."""
    async with asyncio.TaskGroup() as group:
        for number, caller in enumerate(callers):
            begin_s = spread_s * number / len(callers)
            group.create_task(caller.call(begin_s, warm_up_s + spread_s - begin_s, seconds))
