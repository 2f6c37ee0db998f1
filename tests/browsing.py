"""What tests of the captions page share: a real Chromium whose microphone plays a file, a server that goes."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.serving import real_engine, speech
from voicewire.client.commands.serve import PAGE
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

BROWSER_VARIABLE = "VOICEWIRE_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
RATE = 48_000
FLAGS = (
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def chromium() -> str:
    """Its path. The test is skipped where there is none."""
    named = os.environ.get(BROWSER_VARIABLE)
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip(f"no Chromium: `apt-get install chromium`, or name one in {BROWSER_VARIABLE}")
    return found


@contextmanager
def browser(microphone: Path) -> Iterator[Browser]:
    """A browser whose microphone plays this WAV file, once and from its beginning whenever a page listens."""
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}%noloop"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=flags)
        try:
            yield opened
        finally:
            opened.close()


def recording(folder: Path, seconds: float, name: str = "talk.wav") -> Path:
    """Real speech in a file."""
    path = folder / name
    soundfile.write(path, speech(seconds, RATE), RATE)
    return path


@contextmanager
def served_page(port: int = 0) -> Iterator[RunningServer]:
    """The page and the real recogniser."""
    with running_server(ServerSettings(), engine=real_engine(), page=PAGE, port=port) as server:
        yield server


class MortalServer:
    """A server that stops and comes back on its port."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
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
