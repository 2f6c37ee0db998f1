"""A real server in a process of its own, for as long as a benchmark or a test needs it."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil

START_S = 120.0


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def process_at(url: str) -> psutil.Process:
    """The server that this process started at an address, among whatever else it started."""
    port = str(urlsplit(url).port)
    return next(child for child in psutil.Process().children() if port in child.cmdline())


@contextmanager
def served(options: Sequence[str] = (), port: int | None = None) -> Iterator[str]:
    """Gives the address of a server started with `voicewire serve OPTIONS`; ends it afterwards.

    `port` is a free one where none is named.

    Raises RuntimeError with what the server wrote where it does not get ready.
    """
    port = free_port() if port is None else port
    command = [
        str(Path(sys.executable).parent / "voicewire"),
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with running([*command, *options], f"http://127.0.0.1:{port}/readyz"):
        yield f"ws://127.0.0.1:{port}"


@contextmanager
def running(command: Sequence[str], ready: str, environment: dict[str, str] | None = None) -> Iterator[None]:
    """Any server, from the moment at which the address `ready` answers with 200; ends it afterwards.

    Raises RuntimeError with what the server wrote where it does not get so far.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            if not _ready(process, ready):
                output.seek(0)
                raise RuntimeError(f"the server did not get ready:\n{output.read()[-4000:]}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return True
        except (URLError, OSError):
            pass
        time.sleep(0.2)
    return False
