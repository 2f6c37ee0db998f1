"""The process of a RemoteTranscriber: does what it is asked over a socket, until nobody is at the other end.

    python -m voicewire.asr.worker FD

Both ends are one program, on one machine, joined by a pair of sockets without a name, so what comes is unpickled.
"""

import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.errors import AsrError
from voicewire.asr.remote import Asked, Call, Facts, Stepped


class Worker:
    """One recogniser and what is done with it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transcriber: BatchTranscriber | None = None
        self._open: set[int] = set()

    def run(self) -> None:
        """Answers until the other end is closed."""
        with suppress(EOFError, OSError):
            while True:
                self._connection.send(self._answer(self._connection.recv()))

    def _answer(self, asked: Asked) -> Any:
        try:
            for call in asked.before:
                self._do(call)
            return self._do(asked.call)
        except AsrError as error:
            return error
        except Exception as error:
            # Not every exception can be sent, nor its traceback.
            return RuntimeError(f"{error}\n{traceback.format_exc()}")

    def _do(self, call: Call) -> Any:
        if call.method == "load":
            return self._load(*call.given)
        assert self._transcriber is not None
        if call.method == "step":
            return self._step(self._transcriber)
        result = getattr(self._transcriber, call.method)(*call.given)
        if call.method in ("open", "restore"):
            self._open.add(result)
        elif call.method == "close":
            self._open.discard(*call.given)
        return result

    def _load(self, model: str, loading: dict[str, Any]) -> Facts:
        self._transcriber = loaded = BatchTranscriber.load(model, **loading)
        return Facts(loaded.model_name, loaded.identity, loaded.capacity, loaded.state_bytes_per_slot)

    def _step(self, transcriber: BatchTranscriber) -> Stepped:
        events = transcriber.step()
        backlogs = {slot: transcriber.backlog_samples(slot) for slot in self._open}
        return Stepped(events, backlogs, dict(transcriber.stage_seconds))


def main() -> None:
    """Whoever started the process ends it; a signal to the whole group is for him."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    Worker(Connection(int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
