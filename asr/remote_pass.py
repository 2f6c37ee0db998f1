"""A SecondPass in a process of its own, which computes when nobody else wants the processor.

A stream that is heard once more must not keep the words of another waiting: a thread would share Python's
interpreter lock with them, and a process of the lowest priority takes what they leave. This side imports no torch.

    python -m voicewire.asr.remote_pass FD

is the process. Both ends are one program, on one machine, joined by a pair of sockets without a name, so what
comes is unpickled.
"""

import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from voicewire.asr.errors import AsrError, RecogniserLostError
from voicewire.asr.events import Word
from voicewire.asr.stretch import Stretch

_LEAVING_S = 2.0  # that the process has to end by itself
_LOWEST = 19  # of what `nice` knows


class RemotePass:
    """As SecondPass, for one thread; its methods raise RecogniserLostError too, once the process is gone.

    Args:
        model, device, precision, room: as for `SecondPass.load`.
    """

    def __init__(self, model: str, *, device: str = "auto", precision: str = "auto", room: int = 4) -> None:
        self.room = room
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: a file of the folder where the server was started must not stand in for a module
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "voicewire.asr.remote_pass", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())
        self.shut = weakref.finalize(self, _end, self._process, self._connection)
        self._ask({"model": model, "device": device, "precision": precision, "threads": 1, "room": room})

    def hear(self, stretches: Sequence[Stretch]) -> list[tuple[Word, ...]]:
        """As SecondPass's, with what that raises."""
        heard: list[tuple[Word, ...]] = self._ask(list(stretches))
        return heard

    def _ask(self, asked: Any) -> Any:
        try:
            self._connection.send(asked)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self.shut()
            raise RecogniserLostError(
                f"the second pass's process is gone (exit status {self._process.returncode})"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """The process ends when nobody is at the other end; one that does not is made to."""
    connection.close()
    try:
        process.wait(_LEAVING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _serve(connection: Connection) -> None:
    # Not on the other side, which has no use for torch.
    from voicewire.asr.second_pass import SecondPass

    second_pass: SecondPass | None = None
    answer: Any = None
    while True:
        asked = connection.recv()
        try:
            if second_pass is None:
                second_pass, answer = SecondPass.load(**asked), None
            else:
                answer = second_pass.hear(asked)
        except AsrError as error:
            answer = error
        except Exception as error:
            # Not every exception can be sent.
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        connection.send(answer)


def main() -> None:
    """Whoever started the process ends it; a signal to the whole group is for him."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.nice(_LOWEST)
    with suppress(EOFError, OSError):
        _serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
