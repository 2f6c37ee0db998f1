"""Every example of docs/codecs.md that is marked runnable, run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests import codecs_at_hand
from voicewire.codecs.codec_weights import cache_folder
from voicewire.codecs.lyra_v2 import FILES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "codecs.md"
EXAMPLES = re.findall(r"^<!-- runnable -->\n```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SAYS = ("(400, 16) 8.0 {3.2: 16, 6.0: 30, 9.2: 46}", "True", "31: 2}", "art of")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `talk.wav`, and a cache with the weights."""
    codecs_at_hand.codec("lyra_v2")  # skips where there are no weights
    found = codecs_at_hand.weights("lyra_v2") or cache_folder() / "lyra_v2"
    here = tmp_path_factory.mktemp("page")
    kept = here / "codecs" / "lyra_v2"
    kept.mkdir(parents=True)
    for file in FILES:
        (kept / file.name).symlink_to(found / file.name)
    soundfile.write(here / "talk.wav", codecs_at_hand.speech(16_000)[: 8 * 16_000], 16_000)
    return here


@pytest.mark.parametrize(("code", "says"), [*zip(EXAMPLES, SAYS, strict=True)], ids=range(len(EXAMPLES)))
def test_an_example_does_what_it_says(code: str, says: str, folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"VOICEWIRE_CACHE": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert says in result.stdout
