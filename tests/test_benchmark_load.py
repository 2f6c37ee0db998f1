"""The load benchmark against a real server and against its peer: few clients, a few seconds."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.callers import Heard


@pytest.mark.slow
def test_a_few_clients_of_both_servers(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    out, page, plot = (tmp_path / name for name in ("load.json", "load.md", "load.png"))
    arguments = ["--data", str(speech_tar("dev-01")), "--json", str(out), "--markdown", str(page)]
    arguments += [
        "--plot",
        str(plot),
        "--clients",
        "2",
        "--peer-clients",
        "1",
        "--seconds",
        "8",
        "--warm-up",
        "2",
        "--threads",
        "1",
    ]
    load.main([*arguments, "--peer", "faster-whisper-local-agreement"])
    steps = {step["server"]: step for step in json.loads(out.read_text())["steps"]}
    assert set(steps) == {"voicewire", "faster-whisper-local-agreement"}
    for step, clients in zip(steps.values(), (2, 1), strict=True):
        assert (step["clients"], step["refused"], step["errors"]) == (clients, 0, [])
        assert step["committed_s"]["count"] >= clients
        assert step["committed_s"]["median"] > 0
        assert step["server_cores"] > 0
        assert step["late_ms"]["count"] == pytest.approx(clients * 8 / 0.06, rel=0.4)
    assert "voicewire" in page.read_text()
    assert plot.stat().st_size > 5000


def test_what_counts_as_carried() -> None:
    quick, slow = Heard(committed_s=[0.5] * 99), Heard(committed_s=[3.0] * 99)
    assert load._figures([quick], 2.0)["carried"]
    assert not load._figures([quick, slow], 2.0)["carried"]
    assert not load._figures([quick, Heard(refused=True)], 2.0)["carried"]
    assert not load._figures([quick, Heard(error="cut off")], 2.0)["carried"]
    assert not load._figures([Heard()], 2.0)["carried"]
    steps = [{"server": "a", "clients": count, "carried": count < 3} for count in (1, 2, 3)]
    assert (load.sustained(steps, "a"), load.sustained(steps, "b")) == (2, 0)
