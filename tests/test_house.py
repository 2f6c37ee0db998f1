"""The house's own rules: which room may know which, how long a file may grow, what the repository never names."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("asr", "codecs", "streaming", "client")
MOST_LINES, MOST_TEST_LINES = 450, 700


def tracked_files() -> list[Path]:
    """Every file in git's index that still exists."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    assert len(files) > 20
    return [path for path in files if path.is_file()]


def tracked_text() -> list[tuple[Path, str]]:
    """The tracked files that are text."""
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            found.append((path.relative_to(ROOT), data.decode("utf-8", "replace")))
    return found


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "tests", capture_output=True, text=True, timeout=120
    )


def lint_imports() -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [script, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_the_arrows_between_the_rooms_hold() -> None:
    result = lint_imports()
    assert result.returncode == 0, result.stdout + result.stderr
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", result.stdout)
    assert kept
    assert int(kept[1]) >= 5


@pytest.mark.parametrize("room", ROOMS)
def test_the_checker_sees_every_module_of_a_room(room: str) -> None:
    """A contract over modules that the checker cannot find would hold whatever they import."""
    code = f"import grimp; print(*sorted(grimp.build_graph('voicewire.{room}', cache_dir=None).modules))"
    seen = set(run_python(code).stdout.split())
    files = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__", "__main__"}
    assert {f"voicewire.{room}.{name}" for name in files} <= seen
    assert f"voicewire.{room}" in seen


def test_the_messages_load_no_other_module_of_ours_and_no_torch() -> None:
    result = run_python("import sys, voicewire.streaming.messages; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    ours = {name for name in loaded if name.split(".")[0] == "voicewire"}
    assert ours == {"voicewire", "voicewire.streaming", "voicewire.streaming.messages"}
    assert "torch" not in loaded


def test_the_client_loads_without_the_server_s_packages() -> None:
    """What a bare install lacks must not be imported before a command that needs it runs."""
    code = """
import importlib, pkgutil, sys
import voicewire.client
for module in pkgutil.walk_packages(voicewire.client.__path__, "voicewire.client."):
    if not module.name.endswith("__main__") and ".assistants." not in module.name:
        importlib.import_module(module.name)
heavy = {"torch", "whisper", "onnxruntime", "starlette", "uvicorn", "safetensors", "soxr", "silero_vad",
         "structlog", "prometheus_client", "pydantic_settings", "platformdirs", "voicewire.asr",
         "voicewire.codecs"}
print(*sorted(heavy & sys.modules.keys()))
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_no_source_file_outgrows_one_sitting() -> None:
    too_long = []
    for path in tracked_files():
        most = MOST_TEST_LINES if path.parent.name == "tests" else MOST_LINES
        if path.suffix == ".py" and (lines := len(path.read_text().splitlines())) > most:
            too_long.append(f"{path.relative_to(ROOT)}: {lines} lines of at most {most}")
    assert not too_long, "split by noun"


def test_every_source_file_says_what_it_holds() -> None:
    sources = [(path, text) for path, text in tracked_text() if path.suffix == ".py" and text.strip()]
    mute = [str(path) for path, text in sources if not ast.get_docstring(ast.parse(text))]
    assert not mute


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert not [path for path in tracked_files() if path.stem in drawers]


# Spelled in pieces, so that this file does not find itself.
NEVER = {
    "the host of a package registry": "|".join(
        re.escape(host)
        for host in (
            "pypi" + ".org",
            "python" + "hosted.org",
            "npmjs" + ".org",
            "npmjs" + ".com",
            "deb.debian" + ".org",
        )
    ),
    "a path of one machine": "|".join(
        ("/wo" + r"rk/(main|shared)", "/ho" + r"me/[a-z]", "/ro" + "ot/", "/opt/whe" + "els")
    ),
    "how it came about": "|".join((r"\bsub" + r"agent", r"\bDEVEL" + r"OPERS\.md", r"before" + r"-stop")),
}


@pytest.mark.parametrize("what", NEVER)
def test_the_repository_speaks_of_the_product_alone(what: str) -> None:
    pattern = re.compile(NEVER[what])
    found = [f"{path}: {hit[0]}" for path, text in tracked_text() if (hit := pattern.search(text))]
    assert not found, f"names {what}"


def test_a_wheel_holds_every_module_and_what_belongs_to_it(tmp_path: Path) -> None:
    """The editable install of a developer would never notice what a wheel lacks."""
    wheel = wheel_of_the_repository(tmp_path)
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"voicewire/{path.relative_to(ROOT).as_posix()}"
        for path in tracked_files()
        if path.relative_to(ROOT).parts[0] in ROOMS
    }
    assert wanted <= held
    assert not {name for name in held if name.startswith(("tests/", "benchmarks/", "asr/", "codecs/"))}


def wheel_of_the_repository(folder: Path) -> Path:
    """A wheel of what is tracked, and of nothing else that lies about."""
    source = folder / "source"
    for path in tracked_files():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def test_the_recogniser_s_names_load_when_they_are_asked_for() -> None:
    code = """
import sys, voicewire.asr
from voicewire.asr import StreamSettings, Word
light = "torch" not in sys.modules
for name in voicewire.asr.__all__:
    getattr(voicewire.asr, name)
print(light, "torch" in sys.modules)
"""
    result = run_python(code)
    assert result.stdout.split() == ["True", "True"], result.stderr


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    link = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
    broken = [
        f"{path}: {target}"
        for path, text in tracked_text()
        if path.suffix == ".md"
        for target in link.findall(text)
        if not target.startswith(("http:", "https:")) and not (ROOT / path.parent / target).exists()
    ]
    assert not broken
