"""The captions page in a real browser, with a microphone that speaks, against the real server."""

import base64
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import httpx
import pysubs2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browsing import MortalServer, browser, recording, served_page, wait_until, watched_page
from tests.mu_law import MuLaw
from tests.recognisers import ScriptedRecogniser
from tests.serving import real_engine, speech, transcribe
from voicewire.client.commands.serve import PAGE
from voicewire.streaming.engine import Engine
from voicewire.streaming.page import Page as ServedPage
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

# One worker: the model is loaded once per process.
pytestmark = pytest.mark.xdist_group("page")

SPOKEN_S = 5.0
SOON_MS = 30_000


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with served_page() as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(recording(tmp_path_factory.mktemp("microphone"), SPOKEN_S + 20)) as opened:
        yield opened


@pytest.fixture
def context(chromium: Browser, server: RunningServer) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=server.http_url, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    with watched_page(context) as page:
        yield page


def listen(page: Page, address: str = "/", words: int = 3) -> None:
    """Opens the page and waits until some words have been committed."""
    page.goto(address)
    if page.locator("#listen").is_visible():
        page.click("#listen")
    expect(page.locator(".word").nth(words - 1)).to_be_attached(timeout=SOON_MS)


# ---- What the server sends


def test_every_file_of_the_page_comes_with_its_type_and_a_strict_policy(server: RunningServer) -> None:
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    with httpx.Client(base_url=server.http_url) as client:
        for path in [*(f"/static/{file.name}" for file in PAGE.iterdir()), "/"]:
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["Content-Type"].startswith(types[Path(path).suffix or ".html"])
            policy = dict(
                part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
            )
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/static/", "/static/none.js", "/static/..%2Fmain.py", "/static/%2Fetc%2Fpasswd"]
)
def test_what_is_no_file_of_the_page_is_not_there(server: RunningServer, path: str) -> None:
    assert httpx.get(f"{server.http_url}{path}").status_code == 404


def test_the_page_names_no_other_host() -> None:
    """Captions must work where there is no network but the one to the server."""
    for file in PAGE.iterdir():
        addresses = set(re.findall(r"(?:https?|wss?)://[^\s\"'`)]+", file.read_text("utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg", "wss://captions.example"}, file.name


def test_a_server_serves_no_page_unless_it_is_given_one() -> None:
    for page, settings in ((None, ServerSettings()), (PAGE, ServerSettings(page=False))):
        with running_server(settings, engine=real_engine(), page=page) as server:
            assert httpx.get(f"{server.http_url}/").status_code == 404
            assert httpx.get(f"{server.http_url}/readyz").status_code == 200


def test_a_folder_without_an_index_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.html"):
        ServedPage(tmp_path)


# ---- What the reader sees


def test_words_appear_while_the_microphone_hears_them(page: Page) -> None:
    listen(page, words=4)
    expect(page.locator("#status")).to_have_text("Listening")
    expect(page.locator(".line").first).to_contain_text(re.compile("printing", re.IGNORECASE))
    expect(page.locator(".tail")).not_to_be_empty(timeout=SOON_MS)
    expect(page.locator("#shown-after")).to_contain_text(" s")
    page.click("#stop")
    expect(page.locator("#status")).to_have_text("Ready", timeout=SOON_MS)
    expect(page.locator(".tail")).to_be_empty()
    said = page.locator("#announcer").text_content()
    assert said is not None
    shown = page.evaluate("[...document.querySelectorAll('.text')].map((line) => line.textContent).join('')")
    assert said.split() == shown.split(), "what is read aloud is what was committed"


def test_a_recording_is_played_captioned_and_saved(page: Page, server: RunningServer, tmp_path: Path) -> None:
    page.goto("/")
    page.set_input_files("#file", recording(tmp_path, SPOKEN_S))
    expect(page.locator("#status")).to_have_text("Listening", timeout=SOON_MS)
    expect(page.locator("#status")).to_have_text("Ready", timeout=SOON_MS)
    saved = {form: save(page, form, tmp_path) for form in ("txt", "srt", "vtt", "json")}
    assert {path.stem for path in saved.values()} == {"talk"}
    transcript = json.loads(saved["json"].read_text("utf-8"))
    text = transcript["text"]
    assert "for our purpose" in text
    assert "".join(word["word"] for word in transcript["words"]).split() == text.split()
    assert saved["txt"].read_text("utf-8").split() == text.split()
    for form in ("srt", "vtt"):
        cues = pysubs2.load(str(saved[form]))
        assert " ".join(cue.plaintext for cue in cues).split() == text.split()
        assert all(len(line) <= 42 for cue in cues for line in cue.plaintext.split("\n"))
        assert all(cue.start < cue.end for cue in cues)
        assert all(one.end <= other.start for one, other in itertools.pairwise(cues))
    # A player takes a moment to begin, and the browser's resampler is another than ours.
    expected = [message for message in transcribe(server, speech(SPOKEN_S).tobytes()) if "words" in message]
    first = next(word for message in expected for word in message["words"])
    assert transcript["words"][0]["start"] == pytest.approx(first["start"], abs=0.3)


def test_a_recording_may_be_dropped_anywhere(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    page.click("#welcome")
    encoded = base64.b64encode(recording(tmp_path, 1.5).read_bytes()).decode()
    page.evaluate(
        """(encoded) => {
          const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "talk.wav", { type: "audio/wav" }));
          document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        encoded,
    )
    expect(page.locator(".word").first).to_have_text("Printing", timeout=SOON_MS)
    expect(page.locator("#status")).to_have_text("Ready", timeout=SOON_MS)


def save(page: Page, form: str, folder: Path) -> Path:
    page.click("#save")
    with page.expect_download() as waiting:
        page.click(f"[data-save={form}]")
    page.keyboard.press("Escape")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_a_file_that_is_no_sound_is_said_to_be_none(context: BrowserContext, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("no sound")
    with watched_page(context, lambda text: "416" in text or "ERR_" in text) as page:
        page.goto("/")
        page.set_input_files("#file", tmp_path / "notes.wav")
        expect(page.get_by_role("alert")).to_contain_text("cannot play notes.wav")
        expect(page.locator("#listen")).to_be_visible()


def test_captions_go_on_when_the_server_comes_back(chromium: Browser) -> None:
    server = MortalServer()
    server.start()
    context = chromium.new_context(base_url=server.url)
    try:
        with watched_page(
            context, lambda text: any(one in text for one in ("WebSocket", "ERR_", "503", "426"))
        ) as page:
            listen(page)
            server.stop()
            expect(page.locator("#status")).to_contain_text("Reconnecting", timeout=SOON_MS)
            before = page.locator(".word").count()
            server.start()
            expect(page.locator("#status")).to_have_text("Listening", timeout=SOON_MS)
            expect(page.locator(".word").nth(before + 3)).to_be_attached(timeout=SOON_MS)
            text = page.inner_text("#lines")
            assert len(re.findall("making books", text)) <= 1, "nothing is said twice"
            server.stop()
            expect(page.locator("#status")).to_contain_text("Reconnecting", timeout=SOON_MS)
            page.click("#stop")
            expect(page.locator("#listen")).to_be_visible()
            expect(page.locator("#status")).to_have_text("Ready")
    finally:
        context.close()
        server.stop()


def test_how_soon_words_come_can_be_chosen_while_they_come(page: Page) -> None:
    sent: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(str(data))))
    listen(page, "/?preset=balanced", words=1)
    assert any('"chunk_ms":200' in message for message in sent if '"start"' in message)
    page.get_by_label("Fast").check(force=True)
    expect(page.locator("html")).to_have_attribute("data-mood", "live")
    assert any('"chunk_ms":100' in message for message in sent if '"configure"' in message)
    page.reload()
    expect(page.get_by_label("Balanced")).to_be_checked()  # the address says so, and is asked first
    page.goto("/")
    expect(page.get_by_label("Fast")).to_be_checked()


def test_words_tell_their_times_to_mouse_and_keyboard(page: Page) -> None:
    listen(page, words=2)
    page.click("#stop")
    expect(page.locator("#status")).to_have_text("Ready", timeout=SOON_MS)
    told = re.compile(r"^\d+\.\d\d . \d+\.\d\d s · \d+ % sure · settled after \d")
    tooltip = page.get_by_role("tooltip")
    page.hover(".word >> nth=1")
    expect(tooltip).to_have_text(told)
    page.keyboard.press("Escape")
    page.focus("#captions")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".word").last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".word").nth(1)).to_be_focused()
    expect(page.locator(".word").nth(1)).to_have_attribute("aria-describedby", "tooltip")
    expect(tooltip).to_have_text(told)
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()


def test_the_reader_may_look_back_and_return(page: Page) -> None:
    page.set_viewport_size({"width": 420, "height": 400})
    listen(page, "/?size=largest", words=5)
    expect(page.locator("#newest")).to_be_hidden()
    page.locator("#captions").hover()
    page.mouse.wheel(0, -2000)
    expect(page.locator("#newest")).to_be_visible()
    top = page.evaluate("document.getElementById('captions').scrollTop")
    expect(page.locator(".word").nth(page.locator(".word").count())).to_be_attached(timeout=SOON_MS)
    assert page.evaluate("document.getElementById('captions').scrollTop") <= top
    page.get_by_role("button", name="Newest").click()
    expect(page.locator("#newest")).to_be_hidden()


LOOKS = [
    {"theme": "light"},
    {"theme": "dark"},
    {"theme": "light", "size": "largest"},
    {"theme": "light", "contrast": "high"},
    {"theme": "dark", "contrast": "high"},
]


def test_axe_finds_nothing_serious_in_any_look(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    assert serious_faults(page) == []
    listen(page, words=2)
    page.click("#settings")
    assert faults_in_every_look(page) == []


def faults_in_every_look(page: Page) -> list[str]:
    found = []
    for look in LOOKS:
        for name in ("theme", "size", "contrast"):
            chosen = page.locator(f"[name={name}][value={look.get(name, 'normal')}]")
            chosen.evaluate("input => input.click()")
        found += [f"{look}: {fault}" for fault in serious_faults(page)]
    return found


def serious_faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {[node['html'] for node in fault['nodes']]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def test_an_overlay_begins_by_itself_and_shows_words_alone(page: Page) -> None:
    listen(page, "/?overlay=1&lines=3", words=2)
    expect(page.locator(".line").last).to_be_visible()
    for hidden in ("header", "footer", "#newest"):
        expect(page.locator(hidden)).to_be_hidden()
    for element in ("html", "body"):
        background = page.evaluate(f"getComputedStyle(document.querySelector('{element}')).backgroundColor")
        assert background == "rgba(0, 0, 0, 0)"
    page.goto("/?overlay=1&background=00b140")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(0, 177, 64)"


def test_tokens_are_shown_where_the_server_makes_some(chromium: Browser) -> None:
    engine = Engine(ScriptedRecogniser, 2, lambda: {"mu_law": MuLaw()})
    engine.start()
    with running_server(ServerSettings(), engine=engine, page=PAGE) as server:
        context = chromium.new_context(base_url=server.http_url)
        with watched_page(context) as page:
            listen(page, "/?tokens=on", words=1)
            expect(page.locator("#token-strip")).to_be_visible()
            wait_until(page, f"{COLOURS} > 50")
            page.click("#settings")
            page.locator("#tokens").uncheck()
            expect(page.locator("#token-strip")).to_be_hidden()
            expect(page.locator("#status")).to_have_text("Listening")
        context.close()
    engine.stop()


# How many colours stand in the strip's top row.
COLOURS = """(() => {
  const strip = document.getElementById("token-strip");
  const { data } = strip.getContext("2d").getImageData(0, 0, strip.width, 1);
  return new Set(new Uint32Array(data.buffer)).size;
})()"""


def test_the_command_serves_the_page_that_the_package_brings() -> None:
    assert (PAGE / "index.html").is_file()
    with served_page() as server, urlopen(Request(server.http_url, method="HEAD")) as answer:
        assert answer.status == 200
