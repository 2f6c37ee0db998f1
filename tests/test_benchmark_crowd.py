"""The benchmark of a full server against a real one with a single seat."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import crowd


@pytest.mark.slow
def test_one_inside_and_one_outside(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    out, page = tmp_path / "crowd.json", tmp_path / "crowd.md"
    page.write_text("<!-- crowd:begin -->\n<!-- crowd:end -->\n")
    arguments = ["--data", str(speech_tar("dev-01")), "--json", str(out), "--markdown", str(page)]
    crowd.main([*arguments, "--seats", "1", "--seconds", "8"])
    alone, crowded = json.loads(out.read_text())["steps"]
    assert (alone["outside"], alone["refused_ms"]["count"]) == (0, 0)
    assert crowded["refused_ms"]["count"] >= 5
    assert alone["errors"] == crowded["errors"] == []
    for step in (alone, crowded):
        assert step["committed_s"]["count"] > 0
    assert "| 1 | 1 |" in page.read_text()
