"""The load benchmark's client of WhisperLiveKit: what it makes of recorded messages, and the real server."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import load
from benchmarks.speech_tars import ReferenceWord
from benchmarks.whisperlivekit_caller import Lines, LinesCaller
from benchmarks.whisperlivekit_server import HOW, VARIABLE, whisperlivekit_python


def message(settled: str, end: str, buffer: str, behind_s: float) -> str:
    """As version 0.2.26 sends it; what stands in it below was said by a real server."""
    line = {"speaker": 1, "text": settled, "start": "0:00:00.00", "end": end}
    return json.dumps(
        {
            "status": "active_transcription",
            "lines": [line] if settled else [],
            "buffer_transcription": buffer,
            "buffer_diarization": "",
            "buffer_translation": "",
            "remaining_time_transcription": 1.0,
            "remaining_time_transcription_processing": behind_s,
            "remaining_time_transcription_policy": 1.0,
            "remaining_time_diarization": 0,
        },
        separators=(",", ":"),
    )


# Its LocalAgreement shows a tail. Its SimulStreaming shows none, and settles words in halves.
AGREED = [
    (2.61, message("", "", " Besides numberless", 1.1)),
    (3.50, message(" Besides numberless", "0:00:01.56", " vexations", 1.0)),
    (4.50, message(" Besides numberless vexations", "0:00:02.40", " into persecution", 1.1)),
    (
        5.50,
        message(" Besides numberless vexations", "0:00:02.40", " and to persecutions which the clerk", 1.0),
    ),
    (
        6.55,
        message(
            " Besides numberless vexations and to persecutions which the",
            "0:00:04.16",
            " clergy underwent.",
            1.1,
        ),
    ),
]
ALIGNED = [
    (3.46, message(" Besides numberless", "0:00:01.50", "", 1.3)),
    (
        7.63,
        message(
            " Besides numberless vexations and to persecution which the clergy under", "0:00:04.86", "", 2.0
        ),
    ),
    (
        8.89,
        message(
            " Besides numberless vexations and to persecution which the clergy underwent",
            "0:00:05.20",
            "",
            3.3,
        ),
    ),
]


def heard(messages: list[tuple[float, str]]) -> Lines:
    lines = Lines()
    for at, text in messages:
        lines.take(json.loads(text), at)
    return lines


def test_when_each_word_was_settled_and_shown() -> None:
    lines = heard(AGREED)
    assert lines.words == ["Besides", "numberless", "vexations", "and", "to", "persecutions", "which", "the"]
    assert lines.settled_at == [3.50, 3.50, 4.50, 6.55, 6.55, 6.55, 6.55, 6.55]
    assert lines.shown_at[:8] == [2.61, 2.61, 3.50, 4.50, 4.50, 5.50, 5.50, 5.50]


def test_a_word_that_is_settled_in_halves_counts_when_it_is_whole() -> None:
    lines = heard(ALIGNED)
    assert lines.words[-2:] == ["clergy", "underwent"]
    assert lines.settled_at[-2:] == [7.63, 8.89]
    assert lines.shown_at[: len(lines.words)] == [3.46] * 2 + [7.63] * 8


def test_delays_are_from_the_words_end_in_what_was_played() -> None:
    ends = {
        "BESIDES": 1.0,
        "NUMBERLESS": 1.5,
        "VEXATIONS": 2.4,
        "AND": 2.6,
        "PERSECUTIONS": 3.5,
        "LATER": 30.0,
    }
    reference = [ReferenceWord(text, end - 0.3, end) for text, end in ends.items()]
    caller = LinesCaller("", np.zeros(16_000, np.int16), reference)
    caller._began, caller._counts = 100.0, (104.0, 110.0)
    for at, text in AGREED:
        caller._take(text, 100.0 + at)
    caller._measure()
    # What came before it counted is left out, and so is a word that nobody said.
    assert caller.heard.committed_s == pytest.approx([4.50 - 2.4, 6.55 - 2.6, 6.55 - 3.5])
    assert caller.heard.shown_s == pytest.approx([4.50 - 2.6, 5.50 - 3.5])
    assert caller.heard.buffered_ms == [1100, 1000, 1100]


def test_where_it_is_not_installed_it_is_said_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SystemExit, match="pip install torch"):
        whisperlivekit_python()
    monkeypatch.setenv(VARIABLE, "/nowhere/python")
    with pytest.raises(SystemExit, match="there is no /nowhere/python"):
        load.main(["--data", "x.tar", "--json", str(tmp_path / "out.json"), "--peer", "whisperlivekit"])


@pytest.mark.slow
def test_a_client_of_the_real_server(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    if VARIABLE not in os.environ:
        pytest.skip(HOW)
    out = tmp_path / "load.json"
    arguments = [
        "--data",
        str(speech_tar("words-00")),
        "--json",
        str(out),
        "--seconds",
        "8",
        "--warm-up",
        "3",
    ]
    arguments += ["--clients", "1", "--peer-clients", "1", "--threads", "1", "--peer", "whisperlivekit"]
    load.main(arguments)
    [own, peer] = json.loads(out.read_text())["steps"]
    assert (peer["server"], peer["clients"], peer["errors"]) == ("whisperlivekit", 1, [])
    assert peer["committed_s"]["count"] >= 3
    assert peer["committed_s"]["median"] > 0.3
    assert own["errors"] == []
