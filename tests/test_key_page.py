"""The captions page at a server that asks for API keys, in a real browser: it asks its reader and tells nobody."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browsing import browser, recording, watched_page
from tests.serving import get, real_engine
from voicewire.client.commands.serve import PAGE
from voicewire.streaming.key_file import Key, hashed, new_key, write_keys
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = pytest.mark.xdist_group("page")

KEY = new_key()
SOON_MS = 30_000
HELD = "sessionStorage.getItem('voicewire-key')"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    write_keys(path, {"reader": Key(sha256=hashed(KEY))})
    with running_server(ServerSettings(api_keys=path), engine=real_engine(), page=PAGE) as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(recording(tmp_path_factory.mktemp("microphone"), 15)) as opened:
        yield opened


@pytest.fixture
def context(chromium: Browser, server: RunningServer) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=server.http_url)
    yield context
    context.close()


def is_refusal(text: str) -> bool:
    """The browser itself notes down what the server refuses: the handshake, and the question why."""
    return "401" in text or "HTTP Authentication failed" in text


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    with watched_page(context, forgives=is_refusal) as page:
        yield page


def use(page: Page, key: str, *, kept: bool = False) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_label("Keep it until this tab is closed").set_checked(kept)
    page.get_by_role("button", name="Use this key").click()


def heard(page: Page) -> None:
    expect(page.locator("#lines")).to_contain_text("rinting", timeout=SOON_MS)


def test_a_reader_is_asked_for_a_key_and_captions_begin_with_it(page: Page) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    page.goto("/")
    expect(page.locator("#key-form")).to_be_hidden()
    page.get_by_role("button", name="Listen").click()
    expect(page.get_by_role("heading", name="This server asks for an API key.")).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    expect(page.locator("#notice")).to_be_hidden()
    use(page, KEY)
    heard(page)
    expect(page.locator("#key-form")).to_be_hidden()
    assert page.evaluate(HELD) is None, "kept only where the reader wants it"
    assert len([one for one in addresses if "v1/stream" in one]) == 3, "refused, asked why, let in"
    assert not [one for one in addresses if KEY in one]
    assert KEY not in page.content()


def test_a_key_is_kept_for_the_tab_where_the_reader_wants_it(page: Page, context: BrowserContext) -> None:
    page.goto("/?start")
    use(page, KEY, kept=True)
    heard(page)
    page.reload()
    heard(page)
    assert page.evaluate(HELD) == KEY
    assert KEY not in page.evaluate("JSON.stringify(localStorage)")
    with watched_page(context, forgives=is_refusal) as other:
        other.goto("/")
        assert other.evaluate(HELD) is None


def test_a_key_that_is_none_is_asked_for_again_and_forgotten(page: Page) -> None:
    page.goto("/?start")
    use(page, "vw_wrong", kept=True)
    expect(page.get_by_role("heading", name="The server does not know this API key.")).to_be_visible()
    assert page.evaluate(HELD) is None
    use(page, "with spaces and ö")
    # The browser says itself that no key looks so, and nothing is sent.
    assert page.evaluate("document.querySelector('#key').validity.patternMismatch")
    use(page, KEY)
    heard(page)


@pytest.mark.parametrize("look", ["theme=light", "theme=dark", "contrast=high"])
def test_the_form_is_held_to_axe(page: Page, look: str) -> None:
    page.goto(f"/?start&{look}")
    expect(page.locator("#key-form")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_client_for_the_web_says_why_it_was_refused(page: Page) -> None:
    page.goto("/")
    code = """async (key) => {
      const { connect } = await import("/static/voicewire.js");
      return connect(location.href, { key }).then((stream) => stream.close(), (error) => error.code ?? error.name);
    }"""
    assert page.evaluate(code, "") == "unauthorized"
    assert page.evaluate(code, "vw_wrong") == "unauthorized"
    assert page.evaluate(code, "no key") == "RangeError"
    assert page.evaluate(code, KEY)["type"] == "done"


def test_the_stream_s_address_says_without_a_handshake_who_may_come_in(server: RunningServer) -> None:
    status, told, _ = get(f"{server.http_url}/v1/stream")
    assert (status, told["code"]) == (401, "unauthorized")
