"""What `/metrics` says of real sessions, read as Prometheus reads it."""

import contextlib
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.mu_law import MuLaw
from tests.recognisers import ScriptedRecogniser
from tests.serving import SLOTS, real_engine, receive, receive_all, session, speech, transcribe
from voicewire.asr.events import DecoderReset, Flushed, Transcript, Word
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.commands import FlushStream, OpenStream, Part, Progress
from voicewire.streaming.engine import Engine
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.meter import SessionMeter, TurnMeter
from voicewire.streaming.metrics import STAGES, Metrics, Standing
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

# One worker: the model is loaded once per process.
pytestmark = pytest.mark.xdist_group("served")

Samples = dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(), engine=real_engine()) as server:
        yield server


def scrape(server: RunningServer) -> Samples:
    """Every sample by its name and the value of its label, if it has one."""
    with urllib.request.urlopen(f"{server.http_url}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return by_name(answer.read().decode())


def by_name(page: str) -> Samples:
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "le" not in sample.labels
    }


def grown(before: Samples, after: Samples, name: str, label: str = "") -> float:
    return after[name, label] - before.get((name, label), 0.0)


def test_a_session_is_measured_from_its_seat_to_its_end(server: RunningServer) -> None:
    before = scrape(server)
    with session(server) as websocket:
        websocket.send(speech(3.0).tobytes())
        during = scrape(server)
        assert during["voicewire_sessions_active", ""] == 1
        assert during["voicewire_seats_in_use", ""] == 1
        websocket.send('{"type": "flush"}')
        websocket.send('{"type": "close"}')
        done = receive_all(websocket)[-1]
    after = scrape(server)
    assert grown(before, after, "voicewire_sessions_total") == 1
    assert grown(before, after, "voicewire_sessions_ended_total", "done") == 1
    assert grown(before, after, "voicewire_session_seconds_count") == 1
    assert grown(before, after, "voicewire_audio_received_seconds_total") == pytest.approx(3.0)
    assert grown(before, after, "voicewire_audio_processed_seconds_total", "words") == pytest.approx(3.0)
    assert grown(before, after, "voicewire_words_total") == done["totals"]["words"] > 3
    assert grown(before, after, "voicewire_word_delay_seconds_count") == done["totals"]["words"]
    assert grown(before, after, "voicewire_flush_seconds_count", "words") == 2
    assert after["voicewire_seats", ""] == SLOTS
    assert after["voicewire_state_bytes", ""] > 1e6 * SLOTS
    assert after["voicewire_ready", ""] == 1


def test_the_stages_of_a_turn_fit_into_it(server: RunningServer) -> None:
    before = scrape(server)
    transcribe(server, speech(3.0).tobytes())
    after = scrape(server)
    turns = grown(before, after, "voicewire_turn_seconds_count")
    assert turns > 2
    assert grown(before, after, "voicewire_batch_sessions_sum") == turns
    spent = [grown(before, after, "voicewire_stage_seconds_sum", stage) for stage in STAGES]
    assert min(spent) > 0
    turn_s = grown(before, after, "voicewire_turn_seconds_sum")
    assert turn_s / 2 < sum(spent) <= turn_s
    assert grown(before, after, "voicewire_queue_seconds_count") > 0


def test_refusals_and_ends_are_told_apart_by_their_codes(server: RunningServer) -> None:
    before = scrape(server)
    with contextlib.ExitStack() as clients:
        first = clients.enter_context(connect(server.url))
        for _ in range(SLOTS - 1):
            clients.enter_context(connect(server.url))
        with pytest.raises(InvalidStatus), connect(server.url):
            pass
        first.send("not JSON")
        assert receive(first)["code"] == ErrorCode.BAD_JSON
    deadline = time.monotonic() + 5
    while scrape(server)["voicewire_sessions_active", ""] and time.monotonic() < deadline:
        time.sleep(0.05)
    after = scrape(server)
    assert grown(before, after, "voicewire_sessions_refused_total", "capacity") == 1
    assert grown(before, after, "voicewire_sessions_ended_total", "bad_json") == 1
    assert grown(before, after, "voicewire_sessions_ended_total", "client_left") == SLOTS - 1


def test_audio_that_waits_and_a_turn_that_hangs_are_seen() -> None:
    recogniser = ScriptedRecogniser()
    engine = Engine(lambda: recogniser, 2)
    engine.start()
    with running_server(ServerSettings(), engine=engine) as server:
        engine.wait_ready(10)
        with session(server) as websocket:
            recogniser.gate.clear()
            websocket.send(np.zeros(2 * 16_000, "<i2").tobytes())
            time.sleep(0.3)
            samples = scrape(server)
            recogniser.gate.set()
            assert samples["voicewire_backlog_seconds", ""] == pytest.approx(2.0)
            assert samples["voicewire_backlog_largest_seconds", ""] == pytest.approx(2.0)
            assert samples["voicewire_engine_turn_age_seconds", ""] > 0.1
            websocket.send('{"type": "close"}')
            receive_all(websocket)
        with session(server) as websocket:
            recogniser.break_steps = 1
            websocket.send(bytes(32_000))
            assert receive_all(websocket)[-1]["code"] == ErrorCode.INTERNAL
        assert scrape(server)["voicewire_engine_faults_total", ""] == 1
    assert engine.stop()


def test_tokens_are_counted() -> None:
    codec = MuLaw()
    engine = Engine(ScriptedRecogniser, 2, lambda: {codec.name: codec})
    engine.start()
    with running_server(ServerSettings(), engine=engine) as server:
        engine.wait_ready(10)
        with connect(server.url) as websocket:
            start = {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000, "outputs": ["tokens"]}
            websocket.send(json.dumps({**start, "codec": codec.name}))
            websocket.send(speech(1.0).tobytes())
            websocket.send('{"type": "close"}')
            for _ in websocket:
                pass
        samples = scrape(server)
    assert engine.stop()
    assert samples["voicewire_tokens_total", ""] > 0
    assert samples["voicewire_audio_processed_seconds_total", "tokens"] == pytest.approx(1.0)
    assert samples["voicewire_flush_seconds_count", "tokens"] == 1
    assert samples["voicewire_codec_seconds_count", ""] > 0


def test_metrics_may_be_left_out() -> None:
    with (
        running_server(ServerSettings(metrics=False), engine=real_engine()) as server,
        pytest.raises(urllib.error.HTTPError, match="404"),
    ):
        urllib.request.urlopen(f"{server.http_url}/metrics")


# ---- the meters alone


def standing(model: str = "base") -> Standing:
    return Standing(model, True, 8, 1, 0.0, 1000, [0.5, 1.5])


def test_the_delay_of_a_word_is_the_audio_received_behind_it() -> None:
    metrics = Metrics()
    meter = SessionMeter(metrics)
    meter.asked([OpenStream(StreamSettings())], 0.0, 10.0)
    meter.asked([FlushStream("1")], 5.0, 11.0)
    word = Word(" so", 1.0, 1.4, 0.9, 2.4)
    reset = DecoderReset("repetition", 2.0)
    meter.told(Progress((Transcript((word,), (), 0, 2.4), reset), 38_400), 5.0, 11.5)
    meter.told(Progress((Flushed("1", 5.0), Flushed("unknown", 5.0)), 80_000), 5.0, 12.0)
    samples = by_name(metrics.page(standing())[0].decode())
    assert samples["voicewire_word_delay_seconds_sum", ""] == pytest.approx(3.6)
    assert samples["voicewire_flush_seconds_sum", Part.WORDS.name.lower()] == pytest.approx(1.0)
    assert samples["voicewire_flush_seconds_count", "words"] == 1
    assert samples["voicewire_audio_processed_seconds_total", "words"] == pytest.approx(5.0)
    assert samples["voicewire_audio_received_seconds_total", ""] == pytest.approx(5.0)
    assert samples["voicewire_decoder_resets_total", ""] == 1
    assert samples["voicewire_backlog_seconds", ""] == 2.0


def test_what_a_recogniser_spent_before_is_not_counted() -> None:
    metrics = Metrics()
    meter = TurnMeter(metrics)
    meter.loaded({"decoder": 7.0})
    meter.stepped(1.0, 3, {"decoder": 7.5})
    meter.loaded({"decoder": 2.0})
    meter.stepped(1.0, 3, {"decoder": 2.25})
    samples = by_name(metrics.page(standing())[0].decode())
    assert samples["voicewire_stage_seconds_sum", "decoder"] == pytest.approx(0.75)


def test_openmetrics_is_given_to_whom_asks_for_it() -> None:
    content, content_type = Metrics().page(standing(), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert "voicewire_sessions" in {family.name for family in openmetrics(content.decode())}


def test_labels_have_few_values(server: RunningServer) -> None:
    """Nothing that a client sends is among them."""
    with urllib.request.urlopen(f"{server.http_url}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    codes = {*ErrorCode, "done", "client_left", "handed_over"}
    known = {"code": codes, "part": {"words", "tokens"}, "stage": set(STAGES), "model": {"base"}}
    for family in families:
        for sample in family.samples:
            for label in sample.labels.keys() - {"le", "version"}:
                assert sample.labels[label] in known[label], sample


def test_measuring_costs_next_to_nothing() -> None:
    """A turn of one session takes tens of milliseconds."""
    metrics = Metrics()
    turns, session_meter = TurnMeter(metrics), SessionMeter(metrics)
    words = tuple(Word(" so", 1.0, 1.4, 0.9, 2.4) for _ in range(4))
    progress = Progress((Transcript(words, (), 0, 2.4),), 38_400)
    times = dict.fromkeys(STAGES, 1.0)
    began = time.perf_counter()
    for _ in range(300):
        metrics.queue.observe(0.001)
        turns.stepped(0.05, 1, times)
        session_meter.asked([], 5.0, 0.0)
        session_meter.told(progress, 5.0, 0.0)
    assert (time.perf_counter() - began) / 300 < 0.001


# ---- the document


def test_the_document_has_every_metric() -> None:
    document = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`(voicewire_\w+)`", document))
    page = Metrics().page(standing())[0].decode()
    families = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE voicewire_")}
    assert named == {name for name in families if not name.endswith("_created")}
