"""client/web/voicewire.js in a real browser against the real server: any client's words, and staying power."""

import base64
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from tests.browsing import MortalServer, browser, recording, served_page, wait_until
from tests.serving import pieces, speech, text_of, transcribe
from voicewire.streaming.server import RunningServer

DOCS = Path(__file__).resolve().parent.parent / "docs" / "page.md"

pytestmark = pytest.mark.xdist_group("page")

# What each test's script begins with: the module, the audio, and a stream's events as they come.
PRELUDE = """
async ([encoded, more]) => {
  const { connect, Stream, VoicewireError } = await import("/static/voicewire.js");
  const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
  const audio = new Int16Array(bytes.buffer);
  const events = [];
  const record = (stream) => {
    for (const type of ["ready", "state", "transcript", "endpoint", "refined", "flushed", "error", "done"]) {
      stream.addEventListener(type, ({ detail }) => events.push({ type, ...detail }));
    }
    return stream;
  };
  const until = async (holds) => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  const failure = (promise) => promise.then(() => null, ({ code, message }) => ({ code, message }));
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with served_page() as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(recording(tmp_path_factory.mktemp("microphone"), 1)) as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    page = chromium.new_page()
    yield page
    page.close()


def run(page: Page, script: str, audio: np.ndarray, more: Any = None) -> Any:
    """What the script returns, run in the page behind the prelude."""
    encoded = base64.b64encode(audio.astype("<i2").tobytes()).decode()
    return page.evaluate(f"{PRELUDE}{script}}}", [encoded, more])


def words_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [word for event in events if event["type"] == "transcript" for word in event["words"]]


def alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def test_the_words_are_those_of_any_client(page: Page, server: RunningServer) -> None:
    page.goto(server.http_url)
    events = run(
        page,
        """
        const stream = record(await connect(location.href));
        for (let from = 0; from < audio.length; from += 1000) stream.send(audio.subarray(from, from + 1000));
        const flushed = await stream.flush();
        events.push({ type: "behind", flushed, backlog_s: stream.backlog_s, position_s: stream.position_s });
        const done = await stream.close();
        events.push({ type: "after", done, again: await stream.close(), state: stream.state });
        return events;
        """,
        speech(5.0),
    )
    expected = transcribe(server, speech(5.0).tobytes())
    assert alike(text_of(events), text_of(expected)) > 0.9  # a flush may settle the last word otherwise
    assert "".join(word["word"] for word in words_of(events)).strip() == text_of(events)
    behind, after = (next(event for event in events if event["type"] == name) for name in ("behind", "after"))
    assert behind["flushed"]["audio_processed"] == pytest.approx(5.0, abs=0.05)
    assert (behind["backlog_s"], behind["position_s"]) == (pytest.approx(0, abs=0.05), 5.0)
    assert after["done"] == after["again"]
    assert after["done"]["totals"]["audio_s"] == pytest.approx(5.0, abs=0.001)
    assert after["state"] == "closed"


def test_the_example_of_the_documentation_works(page: Page, server: RunningServer) -> None:
    [example] = re.findall(r"^```js\n(.*?)^```", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    example = re.sub(r"^import .*$", "", example, flags=re.MULTILINE).replace(
        '"wss://captions.example"', "location.href"
    )
    page.goto(server.http_url)
    totals, text = run(
        page,
        """
        const [settled, tail] = [document.createElement("p"), document.createElement("p")];
        const samples = audio;
        """
        + example
        + "return [totals, settled.textContent];",
        speech(6.0, 48_000),
    )
    assert totals["words"] > 3
    assert "printing" in text.lower()


def test_a_device_beyond_the_protocol_s_rates_is_halved(page: Page, server: RunningServer) -> None:
    page.goto(server.http_url)
    rate, events = run(
        page,
        """
        const stream = record(await connect(location.href, { sampleRate: 96_000, start: { chunk_ms: 200 } }));
        const floats = Float32Array.from(audio, (value) => value / 32_768);
        for (let from = 0; from < floats.length; from += 4801) stream.send(floats.subarray(from, from + 4801));
        const { sample_rate, chunk_ms } = stream.settings;
        await stream.close();
        return [[sample_rate, chunk_ms], events];
        """,
        speech(4.0, 96_000),
    )
    assert rate == [48_000, 200]
    assert "printing" in text_of(events).lower()
    assert events[-1]["state"] == "closed"
    [done] = [event for event in events if event["type"] == "done"]
    assert done["totals"]["audio_s"] == pytest.approx(4.0, abs=0.001)


def test_settings_change_on_the_way_and_requests_after_the_end_fail(
    page: Page, server: RunningServer
) -> None:
    page.goto(server.http_url)
    settings, failures = run(
        page,
        """
        const stream = await connect(location.href);
        stream.send(audio);
        const settings = await stream.configure({ chunk_ms: 100, commit_ms: 400 });
        await stream.close();
        let code;
        try { stream.send(audio); } catch (error) { code = error.code; }
        return [settings, [code, (await failure(stream.flush())).code]];
        """,
        speech(1.0),
    )
    assert (settings["chunk_ms"], settings["commit_ms"]) == (100, 400)
    assert failures == ["stream_closed", "stream_closed"]


def test_what_was_heard_once_more_is_told_before_the_end(page: Page, server: RunningServer) -> None:
    page.goto(server.http_url)
    events = run(
        page,
        """
        const stream = record(await connect(location.href, { start: { refine: true } }));
        stream.send(audio);
        await stream.close();
        return events;
        """,
        speech(5.0),
    )
    kinds = [event["type"] for event in events]
    assert "refined" in kinds[: kinds.index("done")]
    refined = " ".join(event["text"] for event in events if event["type"] == "refined")
    assert alike(refined, text_of(events)) > 0.8


def test_what_a_server_refuses_for_good_is_not_tried_again(page: Page, server: RunningServer) -> None:
    page.goto(server.http_url)
    states, refused = run(
        page,
        """
        const stream = record(new Stream(location.href, { start: { language: "tlh" } }));
        return [events, await failure(stream.ready)];
        """,
        speech(0.1),
    )
    assert refused["code"] == "unsupported_setting"
    assert "tlh" in refused["message"]
    assert [event["state"] for event in states if event["type"] == "state"] == ["closed"]


@pytest.mark.parametrize("rate", [4000, 44_100.5])
def test_a_rate_that_cannot_be_sent_is_an_error_at_once(
    page: Page, server: RunningServer, rate: float
) -> None:
    page.goto(server.http_url)
    script = """
    try { new Stream(location.href, { sampleRate: more }); } catch (error) { return error.name; }
    """
    assert run(page, script, speech(0.1), rate) == "RangeError"


def test_a_stream_outlives_its_server(page: Page) -> None:
    """Half of the audio, the server goes and comes back, the other half: every word once, on one clock."""
    audio = speech(10.0)
    server = MortalServer()
    server.start()
    try:
        page.goto(server.url)
        run(
            page,
            """
            const stream = (window.stream = record(await connect(location.href)));
            Object.assign(window, { events, rest: audio.subarray(5 * 16_000) });
            stream.send(audio.subarray(0, 5 * 16_000));
            await until(() => events.filter(({ words }) => words?.length).length >= 2);
            """,
            audio,
        )
        server.stop()
        page.evaluate("stream.send(rest)")
        wait_until(page, "stream.state === 'reconnecting'")
        server.start()
        expected = page.evaluate("stream.close().then(() => events)")
    finally:
        server.stop()
    states = [event["state"] for event in expected if event["type"] == "state"]
    assert states[0] == "reconnecting"
    assert states[-2:] == ["open", "closed"]
    whole = (
        "printing then for our purpose may be considered as the art of making books by means of movable types"
    )
    said = "".join(char for char in text_of(expected).lower() if char.isalpha() or char == " ")
    assert alike(said, whole) > 0.85, said
    times = [word["start"] for word in words_of(expected)]
    assert times == sorted(times)
    assert 7.0 < max(word["end"] for word in words_of(expected)) <= 10.1
    utterances = [event["utterance"] for event in expected if event["type"] == "transcript"]
    assert utterances == sorted(utterances)


def test_a_lost_connection_costs_nothing(page: Page, server: RunningServer) -> None:
    """The connection is cut under the stream, three times: words and times are those of a stream left in peace."""
    page.add_init_script(
        "const Real = WebSocket; window.sockets = [];"
        "window.WebSocket = class extends Real { constructor(url) { super(url); sockets.push(this); } };"
    )
    page.goto(server.http_url)
    script = """
        const stream = record(await connect(location.href));
        const flushes = [];
        for (let from = 0, piece = 0; from < audio.length; from += 1600, piece += 1) {
          stream.send(audio.subarray(from, from + 1600));
          if (more.includes(piece)) sockets.at(-1).close(4001);
          if (piece === 20) flushes.push(stream.flush());
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
        const done = await stream.close();
        return [events, done, (await flushes[0]).id, sockets.at(-1).url];
        """
    undisturbed, expected, _, _ = run(page, script, speech(5.0), [])
    events, done, flush, url = run(page, script, speech(5.0), [1, 20, 38])
    states = [event for event in events if event["type"] == "state"]
    # A cut that falls into the pause before a new connection is none.
    assert sum(event["resumed"] for event in states) >= 2
    assert sum(event["type"] == "ready" for event in events) == 0
    assert (done, flush) == (expected, 1)
    assert url == f"{server.url}?resume=one"
    assert words_of(events) == words_of(undisturbed)


def test_audio_that_waits_is_bounded_and_the_clock_goes_on(page: Page) -> None:
    server = MortalServer()
    server.start()
    try:
        page.goto(server.url)
        run(
            page,
            """
            window.stream = record(await connect(location.href, { maxBuffered_s: 3 }));
            Object.assign(window, { events, audio });
            """,
            speech(8.0),
        )
        server.stop()
        wait_until(page, "stream.state === 'reconnecting'")
        page.evaluate(
            "for (let at = 0; at < audio.length; at += 800) stream.send(audio.subarray(at, at + 800))"
        )
        server.start()
        events = page.evaluate("stream.close().then(() => events)")
    finally:
        server.stop()
    assert min(word["start"] for word in words_of(events)) >= 4.9
    [done] = [event for event in events if event["type"] == "done"]
    assert done["totals"]["audio_s"] == pytest.approx(3.0, abs=0.06)


def test_a_stream_gives_up_after_so_many_attempts(page: Page) -> None:
    server = MortalServer()
    server.start()
    page.goto(server.url)
    server.stop()
    refused = run(page, "return failure(connect(location.href, { attempts: 1 }));", speech(0.1))
    assert refused["code"] == "connection_lost"


def test_the_module_stands_alone(server: RunningServer) -> None:
    """Whoever copies the one file has everything."""
    text = (Path(__file__).resolve().parent.parent / "client" / "web" / "voicewire.js").read_text("utf-8")
    assert "\nimport " not in text
    assert len(pieces(text.encode(), 1024)) < 32
