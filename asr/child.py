"""A process that does what this one asks of it, and ends with it.

Both are one program, on one machine, joined by a pair of sockets without a name, so what comes is unpickled. The
parent's side imports no torch.
"""

import os
import signal
import socket
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeAlias

from voicewire.asr.compiled import bound_compiled
from voicewire.asr.errors import AsrError, RecogniserLostError

_LEAVING_S = 2.0  # that a child has to end by itself


class Child:
    """The parent's side; for one thread at a time.

    Args:
        module: what the child runs, with the number of its socket as the one argument; it calls `answer_parent`.
        threads: that its arithmetic may take; None leaves them as they would be here.
    """

    def __init__(self, module: str, *, threads: int | None = 1) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: a file of the folder where the server was started must not stand in for a module
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(threads),
            )
        self._connection = Connection(ours.detach())
        # However it is let go, the process ends.
        self.end = weakref.finalize(self, _end, self.process, self._connection)

    def ask(self, asked: Any, hear: Callable[[Any], None] = lambda _: None) -> Any:
        """What the child answers. Raises what it raised, and RecogniserLostError once it is gone.

        Args:
            hear: takes what it tells on the way.
        """
        with self._noticing_its_end():
            self._connection.send(asked)
        while isinstance(answer := self._next(), _News):
            hear(answer.news)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _next(self) -> Any:
        with self._noticing_its_end():
            return self._connection.recv()

    @contextmanager
    def _noticing_its_end(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self.end()
            raise RecogniserLostError(
                f"the recogniser's process is gone (exit status {self.process.returncode})"
            ) from error


def _environment(threads: int | None) -> dict[str, str]:
    own = dict(os.environ)
    bound_compiled(own)
    return own | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """A child ends when nobody is at the other end; one that does not is made to."""
    connection.close()
    try:
        process.wait(_LEAVING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _News(NamedTuple):
    """What a child tells before it answers."""

    news: Any


Tell: TypeAlias = Callable[[Any], None]


def answer_parent(answer: Callable[[Any, Tell], Any]) -> None:
    """The child's side: answers what is asked until the parent is gone; the second argument tells it something."""
    # Whoever started the process ends it; a signal to the whole group is for him.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    with suppress(EOFError, OSError):
        while True:
            connection.send(_attempt(answer, connection.recv(), lambda news: connection.send(_News(news))))


def _attempt(answer: Callable[[Any, Tell], Any], asked: Any, tell: Tell) -> Any:
    try:
        return answer(asked, tell)
    except (AsrError, ModuleNotFoundError) as error:
        return error
    except Exception as error:
        # Not every exception can be sent, nor its traceback.
        return RuntimeError(f"{error}\n{traceback.format_exc()}")
