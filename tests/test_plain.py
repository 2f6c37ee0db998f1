"""docs/plain.md: its commands are run as they stand, its bytes are sent as they stand, against the real server."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from tests.serving import RawWebSocket, real_engine, speech
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

# One worker: the model is loaded once per process.
pytestmark = pytest.mark.xdist_group("served")

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "plain.md").read_text("utf-8")
COMMANDS = re.findall(r"^<!-- runnable -->\n```bash\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
BYTES = re.findall(r"^```hex\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(), engine=real_engine()) as server:
        yield server


@pytest.mark.parametrize(
    ("command", "tool"),
    list(zip(COMMANDS, ("curl", "websocat", "od"), strict=True)),
    ids=range(len(COMMANDS)),
)
def test_a_command_does_what_it_says(command: str, tool: str, server: RunningServer, tmp_path: Path) -> None:
    if shutil.which(tool, path=PATH) is None:
        pytest.skip(f"{tool} is not installed")
    soundfile.write(tmp_path / "talk.wav", speech(4.0), 16_000)
    result = subprocess.run(
        ["bash", "-euc", command.replace("8765", str(server.port))],
        cwd=tmp_path,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    if tool == "curl":
        assert '"status":"ready"' in result.stdout
        return
    lines = result.stdout.splitlines()
    assert '{"type":"ready"' in result.stdout
    said = "".join(re.findall(r'"text":"([^"]*)"', result.stdout))
    assert "printing" in said.lower()
    assert lines[-1].lstrip("T").startswith('{"type":"done","totals":{"audio_s":4.0')


def test_the_bytes_are_a_session(server: RunningServer) -> None:
    with RawWebSocket(server) as websocket:
        websocket.socket.sendall(bytes.fromhex("".join(BYTES)))
        types = []
        while (frame := websocket.receive())[0] == 1:
            types.append(frame[1]["type"])
        assert types[0] == "ready"
        assert types[-1] == "done"
        assert frame[1][0] == 1000
