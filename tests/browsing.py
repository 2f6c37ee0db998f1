"""What tests of the captions page share: a real Chromium whose microphone plays a file, a server that goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, Page

from benchmarks import chromium
from benchmarks.served import free_port
from tests.serving import real_engine, speech
from voicewire.client.commands.serve import PAGE
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

RATE = 48_000


@contextmanager
def browser(microphone: Path) -> Iterator[Browser]:
    """A browser whose microphone plays this WAV file. The test is skipped where there is no Chromium."""
    path = chromium.find()
    if path is None:
        pytest.skip(f"no Chromium: `apt-get install chromium`, or name one in {chromium.VARIABLE}")
    with chromium.launched(path, microphone) as opened:
        yield opened


def recording(folder: Path, seconds: float, name: str = "talk.wav") -> Path:
    """Real speech in a file."""
    path = folder / name
    soundfile.write(path, speech(seconds, RATE), RATE)
    return path


@contextmanager
def served_page(port: int = 0) -> Iterator[RunningServer]:
    """The page and the real recogniser."""
    settings = ServerSettings(name="one", refine_s=60)
    with running_server(settings, engine=real_engine(), page=PAGE, port=port) as server:
        yield server


class MortalServer:
    """A server that stops and comes back on its port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._held = ExitStack()

    def start(self) -> None:
        self._held.enter_context(served_page(self.port))

    def stop(self) -> None:
        self._held.close()


@contextmanager
def watched_page(
    context: BrowserContext, forgives: Callable[[str], bool] = lambda text: False
) -> Iterator[Page]:
    """A page in which nothing may go wrong unseen: no exception, no error on the console, nothing that the policy
    of the server's headers refuses."""
    wrong: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error('refused', event.violatedDirective))"
    )
    yield page
    unforgiven = [text for text in wrong if not forgives(text)]
    assert not unforgiven, unforgiven
    page.close()


def wait_until(page: Page, condition: str, within_s: float = 30.0) -> None:
    """Until the script's value is true. Playwright's own wait evaluates strings, which the page's policy bars."""
    deadline = time.monotonic() + within_s
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {condition}"
        page.wait_for_timeout(20)
