"""SECURITY.md claims of each threat that something tests it: the tests that it names must be there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def test_every_test_that_the_threat_model_names_exists() -> None:
    document = (TESTS.parent / "SECURITY.md").read_text()
    rows = [line.split("|") for line in document.splitlines() if line.startswith("| ")][1:]
    threats = [row for row in rows if not row[1].strip().startswith("---")]
    assert len(threats) > 15
    written = {
        node.name
        for path in TESTS.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for row in threats:
        named = set(re.findall(r"`(test_\w+)`", row[3]))
        assert named, row[1]
        assert named <= written, named - written
