"""The tutorials, followed to the letter: each command of each page, in order, where nothing of ours is installed.

A page's blocks make one bash script. pip finds what it would download: a wheel of voicewire, and links to the
packages that the page's own `pip install` asks for, from where the tests have them. A comment before a block says
what is not as it stands there: `stays` is a terminal of its own; `instead: COMMAND` stands for the last command of
a block that needs a microphone.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.served import free_port
from tests.bare_install import ROOT, link_packages
from tests.test_house import wheel_of_the_repository

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(
    r'(?:^<!-- ([^\n]+) -->\n)?^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL
)
ADDRESS = "127.0.0.1:8765"
# In the first eight seconds of the recording that the package brings.
SAID = "art of making books"
LIMIT_S = 200


def script(page: str) -> str:
    """All that a page has its reader do; what is done is printed before it."""
    lines = ["set -eu"]
    for mark, language, title, code in BLOCK.findall(page):
        assert language in ("bash", "python"), f"a block of {language}"
        if title:
            lines.append(f"cat > {title} <<'END OF {title}'\n{code}END OF {title}")
            continue
        lines.append(f"echo {shlex.quote(f'$ {code}')}")
        if mark == "stays":
            lines.append(f"{{ {code}}} > server.log 2>&1 &")
            lines.append(f"until curl --silent --fail http://{ADDRESS}/readyz; do sleep 0.2; done")
            lines.append(f"export VOICEWIRE_URL=ws://{ADDRESS}")
        elif mark.startswith("instead: "):
            *before, _ = code.splitlines()
            lines += [*before, mark.removeprefix("instead: ")]
        else:
            lines.append(code)
    return "\n".join(lines)


def installed_by(page: str) -> list[str]:
    """What follows `pip install` on a page."""
    return [name for line in re.findall(r"pip install (.+)", page) for name in shlex.split(line.strip("`"))]


def heard(output: str) -> list[str]:
    """What was printed of the recording by each block that prints some of it, in plain words."""
    blocks = re.split(r"^\$ ", output, flags=re.MULTILINE)[1:]
    speaking = re.compile(r"voicewire (caption|transcribe)|^python |^cat ", re.MULTILINE)
    plain = [re.sub(r"so far:.*|heard:|settled:|-->", "", one) for one in blocks if speaking.search(one)]
    return [" ".join(re.findall("[a-z]+", one.lower())) for one in plain]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of_the_repository(tmp_path_factory.mktemp("wheels")).parent


def newcomer(folder: Path, page: str, wheels: Path) -> dict[str, str]:
    """The environment of somebody who has Python and curl."""
    tools, packages = folder / "tools", folder / "packages"
    tools.mkdir()
    packages.mkdir()
    (tools / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys._base_executable)} "$@"\n')  # type: ignore[attr-defined]
    (tools / "python3").chmod(0o755)
    link_packages(packages, installed_by(page))
    return {
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "0",
        "PYTHONPATH": str(packages),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
    }


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_newcomer_can_follow_a_tutorial(path: Path, tmp_path: Path, wheels: Path) -> None:
    page = path.read_text()
    work = tmp_path / "work"
    work.mkdir()
    environment = newcomer(tmp_path, page, wheels)
    port = str(free_port())
    environment["VOICEWIRE_PORT"] = port
    output = follow(script(page).replace(ADDRESS, f"127.0.0.1:{port}"), work, environment)
    for words in heard(output):
        assert SAID in words, output


def follow(code: str, folder: Path, environment: dict[str, str]) -> str:
    """Runs a script to its end, and sees that nothing is left running."""
    process = subprocess.Popen(
        ["bash", "-c", code],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    log = folder / "server.log"
    assert process.returncode == 0, output + (log.read_text() if log.exists() else "")
    return output
