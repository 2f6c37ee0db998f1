"""The benchmark of assistants: real speech through pipecat to a real server, played once and never again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pipecat", reason="pipecat-ai is not installed")
from benchmarks import assistant

pytestmark = pytest.mark.xdist_group("served")


def test_turns_are_measured_once_and_told(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    out, page = tmp_path / "assistant.json", tmp_path / "page.md"
    tar = str(speech_tar("test-clean-00"))
    told = ["--data", tar, "--limit", "12", "--longest", "3.1", "--json", str(out), "--markdown", str(page)]
    assistant.main([*told, "--sessions", "2"])
    found = json.loads(out.read_text())
    delay = found["doors"]["native"]["delay_s"]
    assert found["doors"]["native"]["clips"] == 2
    assert found["doors"]["native"]["stops"] >= delay["count"] >= 2
    assert 0 < delay["median"] <= delay["p99"] < 10
    assert found["doors"]["native"]["word_error_rate"] < 0.5
    assert "| native | " in page.read_text()
    assistant.main(told)
    assert json.loads(out.read_text())["heard"] == found["heard"], "nothing was left to play"


def test_a_door_that_is_none_is_refused() -> None:
    with pytest.raises(SystemExit):
        assistant.parse_arguments(["--data", "x.tar", "--json", "x.json", "--door", "back"])
