"""What docs/tokens.md says of the format, held to the code; its commands and its program, run as they stand."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import codecs_at_hand
from voicewire.codecs import Hello, Tokens, TokenWriter, read_tokens

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "tokens.md").read_text()


def test_the_example_is_what_is_written_and_read() -> None:
    dump = re.findall(r"^[0-9a-f]{4}  ([0-9a-f ]+)$", PAGE, re.MULTILINE)
    data = bytes.fromhex("".join(dump))
    hello = Hello("tiny", "0123456789abcdef" * 4, 16_000, 320, 4, 5)
    codes = np.array([[1, 2, 3, 4], [31, 30, 29, 28]])
    writer = TokenWriter(hello)
    tokens = Tokens("tiny", 16_000, 50.0, 4, 5, 0, 600, codes)
    assert writer.begin() + writer.write(tokens) + writer.end() == data
    [record] = read_tokens(io.BytesIO(data))
    assert np.array_equal(record.tokens.codes, codes)
    assert record.tokens.samples == 600
    assert data[0x54:0x59].hex(" ") in PAGE


EXAMPLES = re.findall(r"^<!-- runnable -->\n```(bash|python)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the examples expect: `talk.wav`, and a folder `recordings`."""
    (tmp_path / "recordings").mkdir()
    for name in ("talk.wav", "recordings/one.wav"):
        soundfile.write(tmp_path / name, codecs_at_hand.speech(16_000)[: 5 * 16_000], 16_000)
    return tmp_path


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With Lyra's weights in the cache, as a download would leave them."""
    codecs_at_hand.codec("lyra_v2")
    changes = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if weights := codecs_at_hand.weights("lyra_v2"):
        cache = tmp_path_factory.mktemp("cache")
        (cache / "codecs").mkdir()
        (cache / "codecs" / "lyra_v2").symlink_to(weights)
        changes["VOICEWIRE_CACHE"] = str(cache)
    return os.environ | changes


def test_the_examples_do_what_they_say(folder: Path, environment: dict[str, str]) -> None:
    """One after another: the later ones read what the earlier ones wrote."""
    for kind, code in EXAMPLES:
        command = ["bash", "-euo", "pipefail", "-c", code] if kind == "bash" else [sys.executable, "-c", code]
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
        )
        assert result.returncode == 0, code + result.stdout + result.stderr
    lengths = {
        name: len(soundfile.read(folder / name)[0]) for name in ("back.wav", "part.wav", "sound/one.wav")
    }
    assert lengths == {"back.wav": 80_000, "part.wav": 24_000, "sound/one.wav": 80_000}
