"""The benchmarks as they are called, on a few clips: what they write, and that a stopped run is gone on with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import accuracy, floor, latency, longform

SpeechTar = Callable[[str], Path]


def test_accuracy_writes_its_figures_and_resumes(
    speech_tar: SpeechTar, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "accuracy.json", tmp_path / "accuracy.md"
    tars = [str(speech_tar("dev-00")), str(speech_tar("dev-01"))]
    arguments = ["--data", *tars, "--limit", "2", "--settings", "300:1200,300:300", "--json", str(out)]
    accuracy.main([*arguments, "--slots", "3", "--worst", "1", "--markdown", str(table)])
    found = json.loads(out.read_text())
    assert set(found["sets"]) == {"dev-00", "dev-01"}
    for one in found["sets"].values():
        assert one["offline"]["utterances"] == 2
        assert one["offline"]["words"] == one["streaming"][0]["words"] > 5
        assert [(s["chunk_ms"], s["commit_ms"]) for s in one["streaming"]] == [(300, 1200), (300, 300)]
        assert one["offline"]["wer"] < 0.35
        assert one["streaming"][0]["wer"] < 0.5
        assert one["streaming"][0]["interim"]["wer"] >= one["streaming"][0]["wer"]
        assert 0 <= one["streaming"][0]["tail"]["share"] < 0.5
        assert one["streaming"][0]["marks"]["capital"]["f1"] > 0.5
    assert "| dev-01 | offline |" in table.read_text()
    assert "the worst 1" in capsys.readouterr().out

    transcripts = out.with_suffix(".transcripts.jsonl")
    lines = [line for line in transcripts.read_text().splitlines() if line]
    assert len(lines) == 4 * (1 + 2 + 1)  # offline, two streams, the words' times
    transcripts.write_text("\n".join(lines[:-1]))
    accuracy.main(arguments)
    assert [line for line in transcripts.read_text().splitlines() if line][:-1] == lines[:-1]
    assert json.loads(out.read_text())["sets"] == found["sets"]


def test_latency_measures_every_stage(speech_tar: SpeechTar, tmp_path: Path) -> None:
    out, plot = tmp_path / "latency.json", tmp_path / "delay.png"
    tar = str(speech_tar("words-00"))
    table = tmp_path / "latency.md"
    arguments = ["--data", tar, "--limit", "3", "--json", str(out), "--plot", str(plot)]
    latency.main([*arguments, "--markdown", str(table)])
    assert "words-00 grid" in table.read_text()
    [found] = json.loads(out.read_text())["settings"]
    assert found["matched_words"] > found["reference_words"] / 2
    interim, committed = found["delay_s"]["interim"], found["delay_s"]["committed"]
    assert interim["median"] < committed["median"] < 2
    assert found["word_times"]["all"]["start"]["median_ms"] < 250
    assert found["flush_s"]["count"] == found["clips"] == 3
    assert found["state_bytes_per_stream"] > 1_000_000
    assert sum(found["real_time_factor_by_stage"].values()) <= 1.05 * found["real_time_factor"]
    assert {"mel", "encoder", "decoder"} <= set(found["real_time_factor_by_stage"])
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_latency_is_measured_through_a_real_server(speech_tar: SpeechTar, tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    latency.main(["--data", str(speech_tar("words-00")), "--limit", "1", "--json", str(out), "--served"])
    [found] = json.loads(out.read_text())["settings"]
    assert found["matched_words"] > 0
    assert 0 < found["flush_s"]["median"] < 20
    assert found["last_word_after_flush_s"]["count"] <= found["flush_s"]["count"] == 1
    assert found["delay_s"]["committed"]["median"] >= found["delay_s"]["interim"]["median"]


@pytest.mark.slow
def test_longform_compares_long_with_short(speech_tar: SpeechTar, tmp_path: Path) -> None:
    out = tmp_path / "longform.json"
    tar = str(speech_tar("dev-00"))
    longform.main(["--data", tar, "--minutes", "3", "--streams", "1", "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["long"]["words"] == found["short"]["words"] > 200
    assert found["long"]["wer"] < 0.5
    assert len(found["cpu_s_per_audio_s_by_minute"]) == len(found["resident_bytes_by_minute"]) == 3
    assert 0.2 < found["end_over_start"] < 5


def test_floor_counts_what_the_stages_need(speech_tar: SpeechTar, tmp_path: Path) -> None:
    """An encoder's look needs a known number of operations for each frame, and more of them with all looks."""
    out, table = tmp_path / "floor.json", tmp_path / "load.md"
    few = ["--streams", "2", "--seconds", "1.2", "--precision", "float32"]
    floor.main(["--data", str(speech_tar("dev-00")), "--json", str(out), "--markdown", str(table), *few])
    report = json.loads(out.read_text())
    stages = {(stage["looks"], stage["name"]): stage for stage in report["stages"]}
    weights = 6 * 12 * 512 * 512  # of the encoder's blocks: a frame is multiplied with each of them once
    assert stages["none", "encoder"]["operations"] > 2 * weights * 50
    assert stages["all", "encoder"]["operations"] > 1.5 * stages["none", "encoder"]["operations"]
    assert all(0 < stage["floor_s"] < stage["took_s"] for stage in report["stages"])
    assert "| all | encoder |" in table.read_text()
