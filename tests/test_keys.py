"""API keys, origins and TLS, over real sockets: who gets in, who does not, and how much a key may take."""

import json
import os
import re
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.recognisers import ScriptedRecogniser
from tests.serving import START, receive, receive_all
from voicewire.client import ServerError, sync
from voicewire.client.main import app
from voicewire.streaming.allowance import Allowance
from voicewire.streaming.engine import Engine
from voicewire.streaming.errors import SessionError
from voicewire.streaming.key_file import Key, KeyFileError, hashed, new_key, read_keys, write_keys
from voicewire.streaming.keyring import KeyRing
from voicewire.streaming.keys import presented_key
from voicewire.streaming.porter import Porter
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

ALICE, BOB = new_key(), new_key()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    write_keys(
        path,
        {
            "alice": Key(sha256=hashed(ALICE)),
            "bob": Key(sha256=hashed(BOB), sessions=1, audio_s_per_minute=120),
        },
    )
    return path


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(ScriptedRecogniser, 4)
    engine.start()
    engine.wait_ready(10)
    yield engine
    engine.stop()


@pytest.fixture
def server(key_file: Path, engine: Engine) -> Iterator[RunningServer]:
    settings = ServerSettings(api_keys=key_file, idle_s=1.0)
    with running_server(settings, engine=engine) as server:
        yield server


def refusal(url: str, **handshake: Any) -> tuple[int, dict[str, str], Any]:
    with pytest.raises(InvalidStatus) as caught, connect(url, **handshake):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body), response.headers


def bearer(key: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {key}"}}


def begin(websocket: ClientConnection) -> None:
    websocket.send(json.dumps(START))
    assert receive(websocket)["type"] == "ready"


# ---- who gets in


WAYS = [
    bearer(ALICE),
    {"additional_headers": {"Authorization": f"Token {ALICE}"}},
    {"additional_headers": {"X-API-Key": ALICE}},
    {"subprotocols": ["token", ALICE]},
]


@pytest.mark.parametrize("way", WAYS, ids=["bearer", "token", "header", "subprotocol"])
def test_a_key_lets_its_owner_in_however_it_is_shown(server: RunningServer, way: dict[str, Any]) -> None:
    with connect(server.url, **way) as websocket:
        assert websocket.subprotocol == ("token" if "subprotocols" in way else None)
        begin(websocket)


@pytest.mark.parametrize(
    "way",
    [{}, bearer("wrong"), bearer(ALICE[:-1]), bearer(hashed(ALICE)), {"subprotocols": ["token", "x"]}],
    ids=["none", "wrong", "shortened", "its hash", "wrong subprotocol"],
)
def test_without_a_good_key_nobody_gets_in(server: RunningServer, way: dict[str, Any]) -> None:
    status, body, headers = refusal(server.url, **way)
    assert (status, body["code"]) == (401, "unauthorized")
    assert headers["WWW-Authenticate"] == "Bearer"
    assert server.engine.seats_in_use == 0


def test_a_key_in_the_address_is_not_looked_at(server: RunningServer) -> None:
    assert refusal(f"{server.url}?api_key={ALICE}&token={ALICE}")[0] == 401


def test_metrics_need_a_key_and_health_does_not(server: RunningServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{server.http_url}/metrics")
    request = urllib.request.Request(
        f"{server.http_url}/metrics", headers={"Authorization": f"Bearer {ALICE}"}
    )
    with urllib.request.urlopen(request) as answer:
        page = answer.read().decode()
    assert 'voicewire_sessions_refused_total{code="unauthorized"}' in page
    assert ALICE not in page
    for path in ("/healthz", "/readyz"):
        assert urllib.request.urlopen(f"{server.http_url}{path}").status == 200


def test_other_protocols_ask_for_the_same_keys(server: RunningServer) -> None:
    address = server.url.replace("/v1/stream", "/v1/listen")
    with pytest.raises(InvalidStatus) as caught, connect(address):
        pass
    assert caught.value.response.status_code == 401
    with connect(address, additional_headers={"Authorization": f"Token {ALICE}"}):
        pass


def test_the_client_library_and_the_log(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ServerError, match="API key") as caught, sync.connect(server.url):
        pass
    assert caught.value.code == "unauthorized"
    with caplog.at_level("INFO"), sync.connect(server.url, api_key=ALICE) as stream:
        stream.close()
    began = [record for record in caplog.records if record.message == "session_began"]
    assert [record.key for record in began] == ["alice"]
    assert ALICE not in caplog.text


# ---- how much a key may take


def test_a_key_has_so_many_sessions_at_one_time(server: RunningServer) -> None:
    with connect(server.url, **bearer(BOB)) as websocket:
        begin(websocket)
        status, body, headers = refusal(server.url, **bearer(BOB))
        assert (status, body["code"]) == (429, "key_limit")
        assert "Retry-After" in headers
        with connect(server.url, **bearer(ALICE)) as other:
            begin(other)
        websocket.send('{"type": "close"}')
        receive_all(websocket)
    deadline = time.monotonic() + 5
    while True:
        try:
            with connect(server.url, **bearer(BOB)):
                return
        except InvalidStatus:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_key_that_has_sent_its_audio_is_slowed_and_loses_nothing(server: RunningServer) -> None:
    """120 s come at once, the rest at 2 s of audio a second: waiting is all that it costs."""
    with connect(server.url, **bearer(BOB)) as websocket:
        begin(websocket)
        second = np.zeros(16_000, "<i2").tobytes()
        began = time.monotonic()
        for _ in range(123):
            websocket.send(second)
        websocket.send('{"type": "close"}')
        done = receive_all(websocket, timeout=60)[-1]
    assert done["type"] == "done", done
    assert done["totals"]["audio_s"] == 123.0
    # Longer than this server lets a client be idle.
    assert time.monotonic() - began > 1.2


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=30), st.floats(1, 600))
def test_an_allowance_is_never_exceeded_by_whoever_waits(
    steps: list[tuple[float, float]], rate: float
) -> None:
    now = 0.0
    spent = 0.0
    allowance = Allowance(rate, clock=lambda: now)
    for pause, seconds in steps:
        now += pause + allowance.wait_s()
        assert spent <= rate + now * rate / 60 + 1e-6
        allowance.spend(seconds)
        spent += seconds


# ---- the file


def test_keys_come_and_go_while_the_server_runs(server: RunningServer, key_file: Path) -> None:
    carol = new_key()
    keys = read_keys(key_file)
    write_keys(key_file, {"bob": keys["bob"], "carol": Key(sha256=hashed(carol))})
    with connect(server.url, **bearer(carol)):
        pass
    assert refusal(server.url, **bearer(ALICE))[0] == 401


def test_a_damaged_file_leaves_the_keys_as_they_were(
    key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = KeyRing(key_file)
    for damage in ("[keys.alice", "[keys.alice]\nsha256 = 'x'", "[other]\n"):
        key_file.write_text(damage)
        assert ring.owner(ALICE)[0] == "alice"
    key_file.unlink()
    assert ring.owner(BOB)[0] == "bob"
    assert ring.owner(None) is None
    assert "keys_not_read" in caplog.text
    with pytest.raises(KeyFileError, match="voicewire keys add"):
        KeyRing(key_file)


def test_the_command_adds_lists_and_removes(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"

    def keys(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["keys", *arguments, "--file", str(file)])

    added = keys("add", "newsroom", "--sessions", "2", "--audio-per-minute", "90")
    assert added.exit_code == 0, added.output
    key = added.stdout.strip()
    assert key.startswith("vw_")
    assert len(key) == 46
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_keys(file)["newsroom"] == Key(sha256=hashed(key), sessions=2, audio_s_per_minute=90)
    assert keys("add", "newsroom").exit_code == 1
    assert keys("add", "news room").exit_code == 1
    assert "newsroom" in keys("list").stdout
    assert keys("remove", "nobody").exit_code == 1
    assert keys("remove", "newsroom").exit_code == 0
    assert read_keys(file) == {}


@given(st.dictionaries(st.sampled_from(["authorization", "x-api-key", "sec-websocket-protocol"]), st.text()))
def test_any_headers_are_read_without_harm(headers: dict[str, str]) -> None:
    key = presented_key(headers)
    assert key is None or key


# ---- pages


@pytest.mark.parametrize(
    ("settings", "origin", "host", "allowed"),
    [
        ({}, None, "captions.example", True),
        ({}, "http://localhost:8765", "localhost:8765", True),
        ({}, "http://localhost:3000", "localhost:8765", False),
        ({}, "https://evil.example", "localhost:8765", False),
        ({}, "null", "localhost:8765", False),
        # Its name leads to this machine: DNS rebinding.
        ({}, "http://evil.example:8765", "evil.example:8765", False),
        ({"host": "0.0.0.0"}, "https://captions.example", "captions.example", True),
        (
            {"allow_origins": ("https://Captions.example/",)},
            "https://captions.example",
            "localhost:8765",
            True,
        ),
        (
            {"allow_origins": ("https://captions.example",)},
            "https://captions.example.evil.example",
            "x",
            False,
        ),
        ({"allow_origins": ("*",)}, "https://evil.example", "localhost:8765", True),
    ],
)
def test_pages_come_from_the_server_itself_or_are_allowed(
    settings: dict[str, Any], origin: str | None, host: str, allowed: bool
) -> None:
    porter = Porter(ServerSettings(**settings))
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    if allowed:
        assert porter.check(headers) is None
    else:
        with pytest.raises(SessionError, match="--allow-origin"):
            porter.check(headers)


def test_a_foreign_page_is_refused_at_the_handshake(engine: Engine) -> None:
    with running_server(ServerSettings(), engine=engine) as server:
        status, body, _ = refusal(server.url, origin="https://evil.example")
        assert (status, body["code"]) == (403, "origin_refused")
        with connect(server.url, origin=server.http_url):
            pass


# ---- TLS


def test_a_session_over_tls(tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(
            ["openssl", *make.split(), *names, "-out", certificate, "-keyout", key],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl here to make a certificate with")
    with running_server(ServerSettings(tls_cert=certificate, tls_key=key), engine=engine) as server:
        assert server.url.startswith("wss://")
        monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate))
        with sync.connect(server.url) as stream:
            assert stream.ready.model == "scripted"


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    with pytest.raises(ValueError, match="belong together"):
        ServerSettings.load(tls_cert=certificate)
    with pytest.raises(ValueError, match="tls_key"):
        ServerSettings.load(tls_cert=certificate, tls_key=tmp_path / "absent.pem")


# ---- the document


def test_the_document_s_files_are_such(tmp_path: Path) -> None:
    document = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text()
    configuration, keys = re.findall(r"```toml\n(.*?)```", document, re.DOTALL)
    assert set(tomllib.loads(configuration)) <= set(ServerSettings.model_fields)
    file = tmp_path / "keys.toml"
    file.write_text(keys)
    assert read_keys(file)["newsroom"].sessions == 4
