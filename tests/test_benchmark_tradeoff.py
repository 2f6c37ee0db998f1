"""The curve of delay against errors: its points, its picture, and that the points differ as they should."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import tradeoff
from benchmarks.emission import trace_emissions
from benchmarks.plot_labels import LETTER, LINE, place_labels
from benchmarks.speech_tars import ReferenceWord
from benchmarks.trace import Trace
from benchmarks.tradeoff_point import Judged
from voicewire.asr import stream, tokens
from voicewire.asr.events import Transcript, Word


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(f" {one}", 0.0, 0.0, 1.0, 0.0) for one in text.split())


def test_a_clip_is_judged_by_its_looks() -> None:
    trace = Trace()
    for time_s, committed, tail in (
        (1.1, "", "a big"),
        (1.4, "a", "pig"),
        (1.9, "big", "dig"),
        (2.5, "dog", ""),
    ):
        trace.see(Transcript(words(committed), words(tail), 0, time_s))
    assert [one.interim_s for one in trace_emissions(trace)] == [1.1, 1.9, 2.5]
    reference = [ReferenceWord("a", 0.5, 1.0), ReferenceWord("big", 1.0, 1.2), ReferenceWord("cat", 1.3, 1.5)]
    found = Judged.of("a big cat", reference, trace)
    assert (found.errors.substitutions, found.interim_errors.substitutions) == (1, 2)
    assert found.interim_s == pytest.approx((0.1, 0.7))
    assert found.committed_s == pytest.approx((0.4, 0.7))


def test_no_label_covers_another_or_leaves_the_plot() -> None:
    points = [(100.0, 100.0), (104.0, 100.0), (100.0, 108.0), (96.0, 100.0), (390.0, 100.0)]
    labels = ["300:1200"] * 5
    places = place_labels(points, labels, (0, 0, 400, 300))
    width = LETTER * len(labels[0])
    for at, (x, y) in enumerate(places):
        assert 0 <= x <= 400 - width
        for other_x, other_y in places[:at]:
            assert abs(x - other_x) >= width or abs(y - other_y) >= LINE


def test_the_curve_is_measured_and_drawn(speech_tar: Callable[[str], Path], tmp_path: Path) -> None:
    out, plot = tmp_path / "curve.json", tmp_path / "curve.png"
    arguments = [
        "--data",
        str(speech_tar("dev-01")),
        "--limit",
        "2",
        "--json",
        str(out),
        "--plot",
        str(plot),
    ]
    usual, late = tokens.RELUCTANCE, stream.TAIL_HASTE
    arguments += ["--settings", "300:300,300:1200", "--reluctance", "-30", "--beams", "2", "--threads", "1"]
    arguments += ["--haste", "-30", "--passes", "", "--window", "0.5"]
    tradeoff.main(arguments)
    assert (usual, late) == (tokens.RELUCTANCE, stream.TAIL_HASTE)
    found = json.loads(out.read_text())
    points = {point["label"]: point for point in found["points"]}
    assert list(points) == [
        "300:300", "300:1200", "reluctance -30", "haste -30", "window 0.5", "beam 2",
    ]  # fmt: skip
    assert {point["words"] for point in points.values()} == {found["offline"]["words"]}
    # So ready to wait that it says nothing: the constant was really changed, and only there.
    assert points["reluctance -30"]["deletions"] == found["offline"]["words"]
    assert points["300:1200"]["deletions"] < found["offline"]["words"] / 2
    # Without haste a tail shows nothing, and nothing is taken back; what is committed is the same.
    assert points["haste -30"]["interim"]["wer"] > points["300:1200"]["interim"]["wer"]
    assert points["haste -30"]["revoked_share"] is None
    assert points["300:1200"]["revoked_share"] < 1
    assert points["haste -30"]["delay_s"]["committed"] == points["300:1200"]["delay_s"]["committed"]
    slow, early = (points[name]["delay_s"]["committed"]["median"] for name in ("300:1200", "300:300"))
    assert early < slow
    assert points["beam 2"]["beam"] == 2
    assert plot.read_bytes().startswith(b"\x89PNG")
