"""What lies in deploy/: configurations that the programs accept, and a dashboard whose queries find data."""

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.served import free_port
from tests.mu_law import MuLaw
from tests.recognisers import ScriptedRecogniser
from tests.serving import pieces, slots_in_use, speech
from voicewire.client import Stream, connect, sync
from voicewire.streaming.engine import Engine
from voicewire.streaming.messages import Resumed, TranscriptMessage
from voicewire.streaming.metrics import Metrics, Standing
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "voicewire.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def program(name: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/sbin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed: its configuration is not checked (apt-get install {name})")
    return found


def run(*command: str | Path) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    san = ["-addext", "subjectAltName=IP:127.0.0.1"]
    run(program("openssl"), *make.split(), *san, "-out", cert, "-keyout", key)
    return cert, key


# ---- metrics


def known_series() -> set[str]:
    page = Metrics().page(Standing("base", True, 8, 0, 0.0, 0, []))[0].decode()
    return {re.split(r"[{ ]", line)[0] for line in page.splitlines() if not line.startswith("#")}


@pytest.mark.parametrize("path", ["grafana/voicewire.json", "prometheus/alerts.yml"])
def test_every_query_names_metrics_that_exist(path: str) -> None:
    named = set(re.findall(r"\b(?:voicewire|process)_[a-z_]+", (DEPLOY / path).read_text()))
    assert len(named) > 4
    assert named <= known_series() | {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def test_prometheus_accepts_its_configuration_and_alerts(tmp_path: Path) -> None:
    promtool = program("promtool")
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, tmp_path)
    run(promtool, "check", "config", tmp_path / "prometheus.yml")


@pytest.fixture
def server() -> Iterator[RunningServer]:
    codec = MuLaw()
    engine = Engine(ScriptedRecogniser, 2, lambda: {codec.name: codec})
    engine.start()
    with running_server(ServerSettings(), engine=engine) as server:
        yield server
    engine.stop()


def test_a_real_prometheus_finds_data_for_every_query_of_the_dashboard(
    tmp_path: Path, server: RunningServer
) -> None:
    prometheus = program("prometheus")
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    settings["global"]["scrape_interval"] = "500ms"
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [f"{server.host}:{server.port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    command = [prometheus, *options, f"--web.listen-address={address}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        missing = list(QUERIES)
        deadline = time.monotonic() + 60
        while missing and time.monotonic() < deadline:
            with sync.connect(server.url, outputs=["words", "tokens"], codec=MuLaw.name) as stream:
                stream.send(speech(3.0))
            time.sleep(0.5)
            missing = [query for query in missing if not found(address, query)]
        assert not missing
    finally:
        process.terminate()
        process.wait(20)


def found(address: str, query: str) -> list[Any]:
    query = query.replace("$__rate_interval", "10s").replace("$instance", ".*")
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
    except OSError:  # it is not up yet; a query that it does not understand is found missing in the end
        return []
    return result


# ---- proxies


@pytest.fixture
def servers() -> Iterator[list[RunningServer]]:
    """As many as the proxies know, by their names there, with a single seat each."""
    with ExitStack() as held:
        found = []
        for name in ("one", "two"):
            engine = Engine(ScriptedRecogniser, 1)
            engine.start()
            held.callback(engine.stop)
            settings = ServerSettings(name=name, max_sessions=1)
            found.append(held.enter_context(running_server(settings, engine=engine)))
        yield found


@pytest.fixture(params=["nginx", "haproxy"])
def proxy(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    servers: list[RunningServer],
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The address of a real one before the servers, as deploy/ has it."""
    port = free_port()
    configured = {"nginx": nginx_before, "haproxy": haproxy_before}[request.param]
    check, serve = configured(tmp_path, port, certificate)
    path = tmp_path / "proxy.conf"
    text = path.read_text()
    for usual, server in zip(("127.0.0.1:8765", "127.0.0.1:8766"), servers, strict=True):
        text = text.replace(usual, f"{server.host}:{server.port}")
    path.write_text(text)
    run(*check)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"https://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while not answers(f"{url}/readyz"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def nginx_before(folder: Path, port: int, certificate: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """Writes `proxy.conf`; the commands that check it and that serve by it."""
    conf = (DEPLOY / "nginx" / "voicewire.conf").read_text().replace("listen 443", f"listen 127.0.0.1:{port}")
    for kind, path in zip(("fullchain.pem", "privkey.pem"), certificate, strict=True):
        conf = conf.replace(f"/etc/ssl/captions.example/{kind}", str(path))
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"pid {folder}/pid; error_log {folder}/log; daemon off; events {{}}\n"
    whole += f"http {{ access_log off; {places}\n{conf} }}\n"
    (folder / "proxy.conf").write_text(whole)
    command = [program("nginx"), "-p", str(folder), "-c", str(folder / "proxy.conf")]
    return [*command, "-t"], command


def haproxy_before(folder: Path, port: int, certificate: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """The same; it asks more often whether a seat is free than it would have to."""
    both = folder / "both.pem"
    both.write_text("".join(path.read_text() for path in certificate))
    conf = (DEPLOY / "haproxy" / "haproxy.cfg").read_text().replace("bind :443", f"bind 127.0.0.1:{port}")
    conf = conf.replace("/etc/haproxy/captions.example.pem", str(both)).replace("inter 1s", "inter 100ms")
    (folder / "proxy.conf").write_text(conf)
    command = [program("haproxy"), "-f", str(folder / "proxy.conf")]
    return [*command, "-c"], [*command, "-db"]


def test_a_session_goes_through_a_proxy_and_the_metrics_do_not(proxy: str) -> None:
    with sync.connect(proxy) as stream:
        stream.send(speech(3.0))
        assert stream.close().totals.words == 3
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{proxy}/metrics")


async def test_sessions_are_spread_and_come_back_to_their_own_server(
    proxy: str, servers: list[RunningServer]
) -> None:
    """Each server is full while its session's connection is cut."""
    async with connect(proxy) as first, connect(proxy) as second:
        assert [slots_in_use(server) for server in servers] == [1, 1]
        await asyncio.sleep(0.5)  # HAProxy takes no full server for one that is there
        heard = await asyncio.gather(cut_while_speaking(first), cut_while_speaking(second))
    assert heard == [(6, 2), (6, 2)]


async def cut_while_speaking(stream: Stream) -> tuple[int, int]:
    """Words heard and returns made while six seconds are said and the connection is lost twice."""

    async def source() -> AsyncIterator[bytes]:
        for number, piece in enumerate(pieces(speech(6.0).tobytes(), 3200)):
            yield piece
            await asyncio.sleep(0.02)
            if number in (15, 40):
                stream._link._socket.transport.abort()

    words = returns = 0
    async for event in stream.feed(source()):
        words += len(event.words) if isinstance(event, TranscriptMessage) else 0
        returns += isinstance(event, Resumed)
    return words, returns


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# ---- machines


def test_systemd_accepts_the_unit_and_finds_it_safe(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = (DEPLOY / "systemd" / "voicewire.service").read_text()
    path = tmp_path / "voicewire.service"
    path.write_text(unit.replace("/opt/voicewire/bin/voicewire", "/bin/true"))
    run(analyze, "verify", "--man=no", path)
    # A tenth of its "exposure": 10 is no protection at all.
    run(analyze, "security", "--offline=true", "--threshold=25", path)


def documents(path: str) -> list[Any]:
    return [document for document in yaml.safe_load_all((DEPLOY / path).read_text()) if document]


@pytest.mark.parametrize("path", ["compose.yaml", "kubernetes/voicewire.yaml"])
def test_containers_name_settings_that_exist(path: str) -> None:
    named = {name.lower() for name in re.findall(r"VOICEWIRE_([A-Z_]+)\b", (DEPLOY / path).read_text())}
    assert named <= ServerSettings.model_fields.keys()


def test_containers_have_no_rights_and_write_nowhere() -> None:
    compose = documents("compose.yaml")[0]["services"]["voicewire"]
    assert compose["read_only"] is True
    assert compose["cap_drop"] == ["ALL"]
    pod = documents("kubernetes/voicewire.yaml")[0]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] == "10001"
    assert pod["securityContext"]["runAsUser"] == 10001


def test_probes_ask_for_what_the_server_answers(server: RunningServer) -> None:
    pod = documents("kubernetes/voicewire.yaml")[0]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert answers(f"{server.http_url}{path}"), path
