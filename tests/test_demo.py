"""The first thing that anybody runs: `voicewire demo`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from benchmarks.word_errors import count_errors
from tests.serving import CLIP
from voicewire.client.playback import PIECE_S

REFERENCE = CLIP.with_suffix(".txt").read_text(encoding="utf-8")


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
    command = [str(Path(sys.executable).parent / "voicewire"), "demo", "--threads", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


@pytest.fixture(scope="module")
def shown() -> str:
    result = demo()
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_captions_grow_while_the_clip_plays(shown: str) -> None:
    lines = re.findall(r"^ *([\d.]+) s  (.+)$", shown, re.MULTILINE)
    times = [float(at) for at, _ in lines]
    assert times == sorted(times)
    assert len(lines) > 20
    assert times[0] < 4.0, "the first words come long before the clip is over"
    assert times[-1] > 20.0
    assert any("[" in line for _, line in lines), "a tail is shown before it is settled"


def test_each_word_has_its_delay(shown: str) -> None:
    rows = re.findall(
        r"^ (\S.*?) +([\d.]+)-([\d.]+) s +(-?[\d.]+) s +(-?[\d.]+) s +([\d.]+) *$", shown, re.MULTILINE
    )
    errors = count_errors(REFERENCE, " ".join(row[0] for row in rows))
    assert errors.words == len(REFERENCE.replace("-", " ").split())
    assert errors.deletions + errors.substitutions < 0.6 * errors.words
    for _, start, end, first, settled, probability in rows:
        assert 0 <= float(start) <= float(end) <= 23.7
        assert float(first) <= float(settled) < 30
        assert 0 <= float(probability) <= 1
    summary = re.findall(
        r"^ (first shown|settled).*?([\d.]+) s +([\d.]+) s +([\d.]+) s *$", shown, re.MULTILINE
    )
    assert [name for name, *_ in summary] == ["first shown", "settled"]
    for _, median, p95, longest in summary:
        assert float(median) <= float(p95) <= float(longest)


def test_the_clip_is_small_real_and_cut_finely(shown: str) -> None:
    assert REFERENCE.strip() in re.sub(r"\s+", " ", shown)
    assert CLIP.stat().st_size < 300_000
    info = soundfile.info(CLIP)
    assert 15 <= info.duration <= 25
    assert PIECE_S < 0.3


def test_a_demo_that_cannot_run_fails() -> None:
    result = demo("--model", "enormous")
    assert result.returncode == 1
    assert "enormous" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_clip_can_be_kept(tmp_path: Path) -> None:
    result = demo("--save", str(tmp_path / "talk.wav"))
    assert result.returncode == 0, result.stderr
    assert soundfile.info(tmp_path / "talk.wav").duration == pytest.approx(soundfile.info(CLIP).duration)
    nowhere = demo("--save", str(tmp_path / "nowhere" / "talk.wav"))
    assert nowhere.returncode == 1
    assert "cannot be written" in nowhere.stderr
