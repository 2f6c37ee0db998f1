"""The server over real sockets with the real recogniser: words in time, every encoding, every limit."""

import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.recognisers import ScriptedRecogniser
from tests.serving import (
    CLIP,
    SLOTS,
    START,
    get,
    pieces,
    real_engine,
    receive,
    receive_all,
    session,
    slots_in_use,
    speech,
    text_of,
    transcribe,
    wait_for_slots,
)
from voicewire.streaming import logs
from voicewire.streaming.engine import Engine
from voicewire.streaming.errors import EngineError
from voicewire.streaming.messages import ErrorCode, parse_server_message
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

# One worker: the model is loaded once per process.
pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(), engine=real_engine()) as server:
        yield server


# ---- words


def test_words_come_while_the_speaker_is_speaking(server: RunningServer) -> None:
    heard: list[tuple[float, dict[str, Any]]] = []
    with session(server) as websocket:

        def read() -> None:
            try:
                while True:
                    heard.append((time.monotonic(), receive(websocket)))
            except ConnectionClosed:
                pass

        reader = threading.Thread(target=read)
        reader.start()
        for piece in pieces(speech(6.0).tobytes(), 3200):
            websocket.send(piece)
            time.sleep(0.05)  # twice as fast as speech
        all_sent = time.monotonic()
        websocket.send('{"type": "close"}')
        reader.join()
    messages = [message for _, message in heard]
    for message in messages:
        parse_server_message(json.dumps(message))
    committed = [(at, word) for at, message in heard for word in message.get("words", [])]
    early = [word for at, word in committed if at < all_sent]
    assert len(early) >= 3, "committed words come before the audio is over"
    assert any(message.get("tail") for message in messages)
    assert "printing" in text_of(messages).lower()
    assert "".join(word["word"] for _, word in committed).strip() == text_of(messages)
    times = [word["start"] for _, word in committed]
    assert times == sorted(times)
    assert all(0 <= word["start"] <= word["end"] <= 6.1 for _, word in committed)
    assert all(word["emitted"] >= word["end"] - 0.5 for _, word in committed)
    assert messages[-1]["totals"]["audio_s"] == pytest.approx(6.0, abs=0.001)
    assert messages[-1]["totals"]["words"] == len(committed)


def test_a_flush_gives_every_word_so_far_and_the_stream_goes_on(server: RunningServer) -> None:
    audio = speech(8.0).tobytes()
    with session(server) as websocket:
        websocket.send(audio[: 32_000 * 3])
        websocket.send('{"type": "flush", "id": "half"}')
        before = []
        while (message := receive(websocket))["type"] != "flushed":
            before.append(message)
        assert message["id"] == "half"
        assert message["audio_processed"] == pytest.approx(3.0, abs=0.05)
        assert "printing" in text_of(before).lower()
        websocket.send(audio[32_000 * 3 :])
        websocket.send('{"type": "close"}')
        after = receive_all(websocket)
    words = [word for message in [*before, *after] for word in message.get("words", [])]
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)
    assert "books" in text_of(after).lower()
    assert after[-1]["totals"]["words"] == len(words)


def test_settings_change_while_it_runs(server: RunningServer) -> None:
    with session(server, chunk_ms=300) as websocket:
        websocket.send(speech().tobytes())
        websocket.send('{"type": "configure", "chunk_ms": 100, "endpoint_ms": 400}')
        websocket.send(bytes(32_000))
        websocket.send('{"type": "keepalive"}')
        websocket.send('{"type": "close"}')
        messages = receive_all(websocket)
    configured = next(message for message in messages if message["type"] == "configured")
    assert (configured["settings"]["chunk_ms"], configured["settings"]["endpoint_ms"]) == (100, 400)
    assert messages[-1]["type"] == "done"


def test_without_interim_results_there_is_no_tail(server: RunningServer) -> None:
    messages = transcribe(server, speech().tobytes(), interim=False, words=False)
    transcripts = [message for message in messages if message["type"] == "transcript"]
    assert "printing" in text_of(messages).lower()
    assert not any(message["tail_text"] or message["tail"] or message["words"] for message in transcripts)


def encoded(encoding: str) -> tuple[list[bytes], dict[str, object]]:
    """Five seconds of speech as messages, and what `start` says of them."""
    if encoding in ("opus", "ogg_opus"):
        data = CLIP.read_bytes()
        with av.open(io.BytesIO(data)) as container:
            packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
        return (packets[:250] if encoding == "opus" else pieces(data[:20_000], 777)), {"sample_rate": 48_000}
    if encoding == "flac":
        file = io.BytesIO()
        soundfile.write(file, speech(rate=24_000), 24_000, format="FLAC", subtype="PCM_16")
        return pieces(file.getvalue(), 777), {"sample_rate": 24_000}
    rate = 8000 if encoding in ("mulaw", "alaw") else 44_100
    samples = np.stack([speech(rate=rate) / np.float32(32_768)] * 2, axis=1)
    subtype = {"mulaw": "ULAW", "alaw": "ALAW", "pcm_f32le": "FLOAT", "pcm_s16le": "PCM_16"}[encoding]
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="RAW", subtype=subtype, endian="LITTLE")
    return pieces(file.getvalue(), 8 * 1000), {"sample_rate": rate, "channels": 2}


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw", "opus", "ogg_opus", "flac"])
def test_every_encoding_gives_the_words(server: RunningServer, encoding: str) -> None:
    parts, start = encoded(encoding)
    with session(server, encoding=encoding, **start) as websocket:
        for part in parts:
            websocket.send(part)
        websocket.send('{"type": "close"}')
        messages = receive_all(websocket)
    assert "printing" in text_of(messages).lower()
    assert messages[-1]["totals"]["audio_s"] == pytest.approx(5, abs=1.1)


def test_sessions_leave_nothing_behind(server: RunningServer) -> None:
    """Two hundred sessions, ended in every way: no socket, thread or task stays."""

    def one(number: int) -> None:
        with connect(server.url, ping_interval=None) as websocket:
            if number % 4 == 0:
                return
            websocket.send(json.dumps(START))
            if number % 4 == 1:
                return
            websocket.send(bytes(3200) if number % 4 == 2 else b"odd")
            with contextlib.suppress(ConnectionClosed):
                websocket.send('{"type": "close"}')
            assert receive_all(websocket)[-1]["type"] == ("done" if number % 4 == 2 else "error")

    def held() -> tuple[int, int]:
        process = psutil.Process()
        return process.num_fds(), process.num_threads()

    for number in range(8):
        one(number)
    wait_for_slots(server, 0, within_s=5)
    before = held()
    for number in range(200):
        one(number)
    deadline = time.monotonic() + 10
    while (after := held()) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert after <= before


# ---- doors


def test_health_and_readiness(server: RunningServer) -> None:
    assert get(f"{server.http_url}/healthz")[:2] == (200, {"status": "ok"})
    status, body, _ = get(f"{server.http_url}/readyz")
    assert status == 200
    assert body.pop("codecs") in ([], ["lyra_v2"])  # the second where its weights are in the cache
    assert body == {"status": "ready", "model": "base", "slots": {"capacity": SLOTS, "in_use": 0}}


def test_a_full_server_refuses_at_the_handshake(server: RunningServer) -> None:
    with contextlib.ExitStack() as clients:
        first = clients.enter_context(connect(server.url))
        for _ in range(SLOTS - 1):
            clients.enter_context(connect(server.url))
        assert slots_in_use(server) == SLOTS
        began = time.monotonic()
        with pytest.raises(InvalidStatus) as refusal, connect(server.url):
            pass
        assert time.monotonic() - began < 1
        response = refusal.value.response
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert json.loads(response.body)["code"] == ErrorCode.CAPACITY
        first.close()
        wait_for_slots(server, SLOTS - 1, within_s=3)
        with connect(server.url) as websocket:
            websocket.send(json.dumps(START))
            assert receive(websocket)["type"] == "ready"


def test_a_server_whose_model_is_loading_says_so() -> None:
    recogniser = ScriptedRecogniser()
    recogniser.gate.clear()
    engine = Engine(lambda: recogniser, 2)
    engine.start()
    with running_server(ServerSettings(), engine=engine, ready_within_s=None) as server:
        status, body, headers = get(f"{server.http_url}/readyz")
        assert (status, body["status"]) == (503, "loading")
        assert "retry-after" in headers
        assert get(f"{server.http_url}/healthz")[0] == 200
        with pytest.raises(InvalidStatus) as refusal, connect(server.url):
            pass
        assert refusal.value.response.status_code == 503
        recogniser.gate.set()
        engine.wait_ready(10)
        assert get(f"{server.http_url}/readyz")[0] == 200
    assert engine.stop()


def test_the_server_listens_on_ipv6_too(server: RunningServer) -> None:
    interfaces = Path("/proc/net/if_inet6")
    if not interfaces.exists() or not interfaces.read_text().strip():
        pytest.skip("this machine has no IPv6")
    with running_server(ServerSettings(host="::1"), engine=server.engine) as other:
        assert get(f"{other.http_url}/readyz")[0] == 200
        with session(other):
            pass


def test_a_model_that_cannot_be_loaded_is_no_server() -> None:
    with pytest.raises(EngineError, match="nowhere"), running_server(ServerSettings(model="nowhere")):
        pass


def test_a_port_that_is_taken_is_said_so(server: RunningServer) -> None:
    with pytest.raises(OSError, match="in use"), running_server(engine=server.engine, port=server.port):
        pass


# ---- pace


def test_a_sender_without_pace_is_slowed_and_not_buffered(server: RunningServer) -> None:
    bounded = ServerSettings(buffered_s=2.0)
    with running_server(bounded, engine=server.engine) as tight:
        messages = transcribe(tight, speech(20.0).tobytes(), piece=32_000)
    most = max(message["buffered_ms"] for message in messages if message["type"] == "transcript")
    # Read up to the bound, and one message beyond it.
    assert 1000 < most <= 2000 + 1000
    assert messages[-1]["totals"]["audio_s"] == 20.0


def test_others_are_not_delayed_by_a_sender_without_pace(server: RunningServer) -> None:
    """While one session has half a minute queued, another's words come within a second or two."""
    with session(server) as hasty, session(server) as patient:
        hasty.send(speech(20.0).tobytes())
        patient.send(speech(3.0).tobytes())
        patient.send('{"type": "flush", "id": 1}')
        began = time.monotonic()
        while receive(patient)["type"] != "flushed":
            pass
        patient_took = time.monotonic() - began
        hasty.send('{"type": "close"}')
        assert receive_all(hasty)[-1]["type"] == "done"
        hasty_took = time.monotonic() - began
    assert patient_took < hasty_took / 2


# ---- the end


def test_stopping_gives_the_last_words_and_says_why(server: RunningServer) -> None:
    messages: list[dict[str, Any]] = []
    with contextlib.ExitStack() as clients, running_server(ServerSettings(), engine=server.engine) as other:
        websocket = clients.enter_context(connect(other.url))
        websocket.send(json.dumps(START))
        idle = clients.enter_context(connect(other.url))
        websocket.send(speech(4.0).tobytes())
        while receive(websocket)["type"] != "transcript":
            pass
        reader = threading.Thread(target=lambda: messages.extend(receive_all(websocket)))
        reader.start()
        began = time.monotonic()
    took = time.monotonic() - began
    reader.join()
    assert "printing" in text_of(messages).lower()
    assert messages[-1]["code"] == ErrorCode.SHUTTING_DOWN
    assert websocket.close_code == 1012
    assert [message["code"] for message in receive_all(idle)] == [ErrorCode.SHUTTING_DOWN]
    assert took < 15
    with pytest.raises(OSError, match="refused"), connect(other.url):
        pass


def test_stopping_is_bounded_where_the_recogniser_hangs() -> None:
    recogniser = ScriptedRecogniser()
    engine = Engine(lambda: recogniser, 2)
    engine.start()
    hurried = ServerSettings(shutdown_s=0.5, farewell_s=0.5)
    with contextlib.ExitStack() as clients, running_server(hurried, engine=engine) as server:
        websocket = clients.enter_context(connect(server.url))
        websocket.send(json.dumps(START))
        assert receive(websocket)["type"] == "ready"
        recogniser.gate.clear()
        websocket.send(bytes(64_000))
        time.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert receive_all(websocket)[-1]["code"] == ErrorCode.SHUTTING_DOWN
    recogniser.gate.set()
    assert engine.stop()


@pytest.mark.slow
def test_the_process_serves_until_sigterm(tmp_path: Path) -> None:
    """`serve` as an operator runs it: settings from environment and file, JSON lines as a log, a clean end."""
    config = tmp_path / "voicewire.toml"
    config.write_text("max_sessions = 1\nport = 1\nhandshake_s = 7\n")
    code = (
        "import sys; from pathlib import Path; from voicewire.streaming.server import serve\n"
        "from voicewire.streaming.settings import ServerSettings\n"
        "serve(ServerSettings.load(Path(sys.argv[1]), threads=1))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "VOICEWIRE_PORT": "0"},
    )
    assert process.stderr is not None
    log = []
    try:
        for line in process.stderr:
            log.append(json.loads(line))
            if log[-1]["event"] == "model_loaded":
                break
        port = next(entry["port"] for entry in log if entry["event"] == "listening")
        assert port > 1
        with connect(f"ws://127.0.0.1:{port}/v1/stream") as websocket:
            websocket.send(json.dumps(START))
            assert receive(websocket)["type"] == "ready"
            websocket.send(speech(4.0).tobytes())
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            messages = receive_all(websocket)
        assert messages[-1]["code"] == ErrorCode.SHUTTING_DOWN
        assert "printing" in text_of(messages).lower()
        rest = process.stderr.read()
        assert process.wait(20) == 0
    finally:
        process.kill()
    log += [json.loads(line) for line in rest.splitlines()]
    ended = next(entry for entry in log if entry["event"] == "session_ended")
    assert ended["code"] == ErrorCode.SHUTTING_DOWN
    assert ended["words"] > 3
    assert "printing" not in json.dumps(log).lower()


# ---- the log


def test_the_log_carries_no_text(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    messages = transcribe(server, speech().tobytes())
    with connect(server.url) as websocket:
        websocket.send('{"type": "secret-9f"}')
        assert "secret-9f" in receive(websocket)["message"]
    spoken = {word.strip(" .,").lower() for word in text_of(messages).split()}
    assert "printing" in spoken
    ours = [record for record in caplog.records if record.name.split(".")[0] in ("voicewire", "uvicorn")]
    logged = " ".join(f"{record.getMessage()} {vars(record)}" for record in ours).lower()
    assert "session_ended" in logged
    assert not {word for word in ("printing", "purpose", "secret-9f") if word in logged}


def test_the_log_is_json_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    voicewire, uvicorn = logging.getLogger("voicewire"), logging.getLogger("uvicorn")
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in (voicewire, uvicorn)]
    try:
        logs.configure(stream=stream)
        logs.get_logger("voicewire.test").bind(session="a1").info("session_began", slots=3)
        logs.get_logger("voicewire.test").debug("too_much")
        try:
            raise ValueError("told to break")
        except ValueError:
            logs.get_logger("voicewire.test").exception("step_failed")
        logging.getLogger("uvicorn.error").info("not this")
        logging.getLogger("uvicorn.error").warning("but this")
    finally:
        for logger, handlers, propagate, level in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
    began, failed, warned = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (began["event"], began["session"], began["slots"], began["level"]) == (
        "session_began",
        "a1",
        3,
        "info",
    )
    assert re.match(r"\d{4}-\d\d-\d\dT", began["timestamp"])
    assert "told to break" in failed["exception"]
    assert warned["event"] == "but this"


# ---- settings


def test_flags_override_the_environment_which_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "voicewire.toml"
    file.write_text('host = "0.0.0.0"\nport = 1000\nidle_s = 7.5\n')
    monkeypatch.setenv("VOICEWIRE_PORT", "2000")
    monkeypatch.setenv("VOICEWIRE_HOST", "::1")
    settings = ServerSettings.load(file, host="127.0.0.9", device=None)
    assert (settings.host, settings.port, settings.idle_s, settings.device) == (
        "127.0.0.9",
        2000,
        7.5,
        "auto",
    )
    assert settings.max_sessions == ServerSettings().max_sessions


def test_a_setting_that_does_not_exist_or_fit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "voicewire.toml"
    for line in ("prot = 1000", "port = 70000", "idle_s = 0", "buffered_s = 0.1", "chunk_ms = 310"):
        file.write_text(line)
        with pytest.raises(ValueError, match=line.split()[0]):
            ServerSettings.load(file)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        ServerSettings.load(tmp_path / "elsewhere.toml")


# ---- the document

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "server.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_document_s_examples_run(code: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    if "running_server" in code:
        assert result.stdout.endswith("1.0 s of audio\n")


def test_the_document_names_every_setting() -> None:
    names = list(ServerSettings.model_fields)
    for name in names[: names.index("max_sessions") + 1]:
        assert f"`{name}`" in DOCUMENT
