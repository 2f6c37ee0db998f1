"""The benchmarks of faults and of long use, against real servers: few faults, seconds instead of hours."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import faults, soak
from benchmarks.faults import Heard, lost_words
from benchmarks.soak import Sample


@pytest.mark.slow
def test_a_few_faults_of_each_kind(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    out, page = tmp_path / "faults.json", tmp_path / "faults.md"
    arguments = ["--data", str(speech_tar("dev-00")), "--json", str(out), "--markdown", str(page)]
    arguments += ["--kills", "4", "--inputs", "60", "--clients", "2", "--seconds", "4", "--pace", "3"]
    faults.main([*arguments, "--only", "kill", "--only", "fuzz"])
    killed, fuzzed = json.loads(out.read_text())["faults"]
    assert (killed["times"], killed["lost"]) == (4, 0)
    assert killed["words"] > 3
    assert killed["resumed"] >= 2
    assert (fuzzed["times"], fuzzed["lost"]) == (60, 0)
    assert "0 without an answer" in fuzzed["besides"]
    assert "malformed input" in page.read_text()


@pytest.mark.slow
def test_a_minute_of_soaking(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    out, plot = tmp_path / "soak.json", tmp_path / "soak.png"
    arguments = ["--data", str(speech_tar("dev-00")), "--json", str(out), "--plot", str(plot)]
    soak.main([*arguments, "--hours", "0.006", "--sessions", "3", "--samples", "3"])
    one, many = json.loads(out.read_text())["parts"]
    assert (one["part"], many["part"]) == ("one session", "many sessions")
    assert one["audio_h"] >= 0.005
    assert one["pace"] > 1
    assert many["sessions"] == 3
    assert many["wait_s"]["count"] >= 1  # of those behind the first minute, here the last
    assert plot.stat().st_size > 5000


def test_a_word_is_lost_where_it_is_missing_changed_or_too_many() -> None:
    whole = Heard(("a", "b", "c"), 0)
    assert lost_words(whole, whole) == 0
    assert lost_words(whole, Heard(("a", "b"), 0)) == 1
    assert lost_words(whole, Heard(("a", "x", "c"), 0)) == 1
    assert lost_words(whole, Heard(("a", "b", "c", "c"), 0)) == 1


def test_growth_is_told_from_standing_still() -> None:
    def sample(number: int, memory_mib: float, cost_ms: float) -> Sample:
        return Sample("one session", 10.0 * number, 2.0, 10.0, memory_mib, cost_ms, (0.8, 1.0, 1.2))

    flat = soak.summary([sample(number, 1000.0, 100.0) for number in range(1, 21)])
    assert (flat["memory_grown"], flat["cost_changed"], flat["delay_changed"]) == (0, 0, 0)
    assert flat["pace"] == 5.0
    grows = soak.summary([sample(number, 1000.0 + 10 * number, 100.0 + number) for number in range(1, 21)])
    assert grows["memory_grown"] > 0.1
    assert grows["cost_changed"] > 0.05
