"""Every example that is marked runnable, on the pages where some are, run as it stands."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.served import served
from benchmarks.speech_tars import Clip
from benchmarks.word_errors import count_errors

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{page}.md" for page in ("recogniser", "protocols", "transcribe")),
)
EXAMPLE = re.compile(r"^<!-- runnable -->\n```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [example for page in PAGES for example in EXAMPLE.findall(page.read_text())]
ADDRESS = "127.0.0.1:8765"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as url:
        yield url.removeprefix("ws://")


@pytest.fixture
def clip(clips: Callable[[str, int], list[Clip]]) -> Clip:
    return min(clips("test-clean-00", 12), key=lambda one: abs(one.duration - 6))


@pytest.fixture
def folder(clip: Clip, tmp_path: Path) -> Path:
    """What the examples expect to find: `talk.wav`, `call.wav` of two channels, and a folder `recordings`."""
    (tmp_path / "recordings").mkdir()
    for name in ("talk.wav", "recordings/one.wav", "recordings/two.wav"):
        soundfile.write(tmp_path / name, np.clip(clip.samples, -1, 1), 16_000)
    call = np.stack([np.clip(clip.samples, -1, 1), np.zeros_like(clip.samples)], 1)
    soundfile.write(tmp_path / "call.wav", call, 16_000)
    return tmp_path


def run(kind: str, code: str, address: str, folder: Path) -> str:
    code = code.replace(ADDRESS, address)
    command = ["bash", "-euc", code] if kind == "bash" else [sys.executable, "-c", code]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VOICEWIRE_URL": f"ws://{address}",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    result = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def spoken(output: str) -> str:
    """The words alone, without times, numbers of cues, and what a terminal draws around them."""
    return re.sub(r"-->|[\d:.,]+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output))


def test_the_pages_have_their_examples() -> None:
    assert [kind for kind, _ in EXAMPLES].count("python") >= 3
    assert [kind for kind, _ in EXAMPLES].count("bash") >= 3


@pytest.mark.parametrize(("kind", "code"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_does_what_it_says(kind: str, code: str, address: str, folder: Path, clip: Clip) -> None:
    output = run(kind, code, address, folder)
    texts = [path.read_text() for path in (folder / "subtitles").glob("*")] or [output]
    if "recordings/" in code:
        assert len(texts) == 2
    for text in texts:
        errors = count_errors(clip.text, spoken(text))
        assert errors.deletions + errors.substitutions <= 0.35 * errors.words, text
