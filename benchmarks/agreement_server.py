"""LocalAgreement-2 on faster-whisper behind a websocket: a peer that the load benchmark's clients can speak to.

One model in int8 with a worker for each core; a session's next step begins when a second of new audio has come
and a worker is free, and takes all audio that has come by then, so that a server that is late makes fewer steps,
not longer queues.

    python -m benchmarks.agreement_server PORT WORKERS
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.faster_whisper_model import Transcribe, load_faster_whisper
from benchmarks.local_agreement import LocalAgreement
from benchmarks.served import free_port
from benchmarks.speech_tars import SAMPLE_RATE

START_S = 120.0


class AgreementServer:
    """Sessions that share a model and its workers."""

    def __init__(self, transcribe: Transcribe, workers: int) -> None:
        self._transcribe = transcribe
        self._workers = ThreadPoolExecutor(workers)

    async def handle(self, websocket: ServerConnection) -> None:
        """One session: `start`, then audio; transcripts come back."""
        await websocket.recv()
        await websocket.send('{"type": "ready"}')
        pieces: list[bytes] = []
        stepping = asyncio.create_task(self._step(websocket, pieces))
        try:
            async for message in websocket:
                if isinstance(message, bytes):
                    pieces.append(message)
        finally:
            stepping.cancel()

    async def _step(self, websocket: ServerConnection, pieces: list[bytes]) -> None:
        stream = LocalAgreement(self._transcribe)
        needed = round(stream.step_s * SAMPLE_RATE) * 2
        with suppress(ConnectionClosed):
            while True:
                if sum(map(len, pieces)) < needed:
                    await asyncio.sleep(0.02)
                    continue
                samples = np.frombuffer(b"".join(pieces), "<i2").astype(np.float32) / 32_768
                pieces.clear()
                loop = asyncio.get_running_loop()
                words = await loop.run_in_executor(self._workers, stream.hear, samples)
                items = [{"word": word.text, "start": word.start_s, "end": word.end_s} for word in words]
                await websocket.send(json.dumps({"type": "transcript", "words": items}))


@contextmanager
def agreement_served(workers: int) -> Iterator[str]:
    """The address of such a server in a process of its own; ends it afterwards."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.agreement_server", str(port), str(workers)])
    try:
        _wait(process, port)
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise RuntimeError("the peer did not get ready")


async def main() -> None:
    port, workers = int(sys.argv[1]), int(sys.argv[2])
    transcribe = load_faster_whisper("base", "int8", threads=1, beam=5, workers=workers)
    server = AgreementServer(transcribe, workers)
    async with serve(server.handle, "127.0.0.1", port, max_size=None, compression=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
