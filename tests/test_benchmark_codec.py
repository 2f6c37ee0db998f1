"""The benchmark of codecs: instruments that tell good speech from bad, bitrates that are counted, and a report."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import codec, codec_choice, codec_speed, speech_quality
from benchmarks.channels import ORIGINAL, codec_channels, opus_channel
from benchmarks.codec_outcome import ChannelOutcome, ClipOutcome, SetOutcome
from benchmarks.codec_report import CodecReport
from benchmarks.dnsmos import WINDOW_SAMPLES, windows
from benchmarks.machine import this_machine
from benchmarks.mean_interval import mean_difference, mean_interval
from benchmarks.speech_quality import METRICS, load_metrics
from benchmarks.speech_tars import SAMPLE_RATE, Clip
from benchmarks.word_errors import WordErrors
from tests.mu_law import MuLaw
from voicewire.codecs import CodecWeightsError

# What each says of clean speech at least, and of as much noise as speech at most.
BOUNDS = {
    "pesq": (4.6, 1.2),
    "stoi": (0.999, 0.85),
    "visqol": (4.3, 1.7),
    "dnsmos": (2.9, 2.2),
    "distillmos": (3.5, 2.5),
}


@pytest.fixture(scope="module")
def clean(clips: Callable[[str, int], list[Clip]]) -> np.ndarray:
    return clips("test-clean-00", 1)[0].samples


@pytest.mark.parametrize("name", METRICS)
def test_an_instrument_tells_clean_speech_from_noisy(name: str, clean: np.ndarray) -> None:
    ready, missing = load_metrics([name])
    if missing:
        pytest.skip(f"{METRICS[name].package} is not installed: {missing[name]}")
    noise = np.random.default_rng(0).normal(0, clean.std(), len(clean))
    noisy = np.clip(clean + noise, -1, 1).astype(np.float32)
    good, bad = BOUNDS[name]
    assert ready[name](clean, clean) >= good
    assert ready[name](clean, noisy) <= bad
    assert METRICS[name].version.startswith(f"{METRICS[name].package} ")


@pytest.mark.parametrize(("seconds", "count"), [(1, 7), (9.5, 1), (10.5, 1), (11.0, 2), (15.1, 6)])
def test_dnsmos_hears_what_the_published_script_hears(seconds: float, count: int) -> None:
    samples = np.arange(int(seconds * SAMPLE_RATE), dtype=np.float32)
    found = windows(samples)
    assert found.shape == (count, WINDOW_SAMPLES)
    assert found[0, 0] == 0
    assert found[-1, 0] == (count - 1) * SAMPLE_RATE % len(samples)


def test_opus_is_counted_by_its_packets_and_stays_in_step(clean: np.ndarray) -> None:
    received = [opus_channel(kbps).send(clean) for kbps in (6, 12)]
    rates = [(one.bits or 0) / len(clean) * SAMPLE_RATE / 1000 for one in received]
    assert 4.5 < rates[0] < 7.5 < rates[1] < 13.5
    lags = range(-40, 41)
    likeness = [float(np.dot(received[1].samples, np.roll(clean, lag))) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 1


def test_a_codec_s_channels_are_its_rates(clean: np.ndarray) -> None:
    low, high = codec_channels(MuLaw())
    assert (low.kbps, high.kbps) == (64, 128)
    received = high.send(clean)
    assert received.samples.shape == clean.shape
    outcome = ChannelOutcome("mu_law", 128, (ClipOutcome("a", len(clean) / 16_000, received.bits, {}, None),))
    # The last frame is padded.
    assert outcome.real_kbps == pytest.approx(128, rel=0.01)
    assert ORIGINAL.send(clean).bits is None


def test_means_and_their_pairing() -> None:
    random = np.random.default_rng(0)
    base = list(random.normal(3, 0.5, 200))
    mean = mean_interval(base)
    assert mean.mean == pytest.approx(np.mean(base))
    assert mean.low < mean.mean < mean.high
    assert mean.high - mean.low == pytest.approx(4 * 0.5 / np.sqrt(200), rel=0.15)
    difference = mean_difference([one + 0.1 for one in base], base)
    assert (difference.low, difference.high) == pytest.approx((0.1, 0.1))
    with pytest.raises(ValueError, match="scores"):
        mean_interval([])


def outcome(name: str, kbps: float | None, visqol: float, wrong: int) -> ChannelOutcome:
    bits = None if kbps is None else int(2000 * kbps)
    errors = WordErrors(20, wrong, 0, 0)
    clips = (ClipOutcome(key, 2.0, bits, {"visqol": visqol + at}, errors) for at, key in enumerate("ab"))
    return ChannelOutcome(name, kbps, tuple(clips))


def test_the_report_compares_with_the_original_and_with_opus(tmp_path: Path) -> None:
    channels = (
        outcome("original", None, 4, 1),
        outcome("lyra", 3.2, 2.5, 3),
        outcome("Opus", 6, 2, 2),
        outcome("Opus", 9, 3, 1),
    )
    found = SetOutcome("set", channels)
    assert str(found.baseline) == "Opus 6"
    assert [str(one) for one in found.codecs] == ["lyra 3.2"]
    row = found.as_json()[1]
    assert row["real_kbps"] == pytest.approx(3.2)
    assert row["against_original"]["word_errors"]["difference"] == pytest.approx(0.1)
    assert row["against_baseline"]["scores"]["visqol"]["mean"] == pytest.approx(0.5)
    page = tmp_path / "codec.md"
    CodecReport([found], ("visqol",), this_machine(), {"limit": 2}, {"PESQ": "no compiler"}).write_markdown(
        page, "codec"
    )
    text = page.read_text()
    assert "| set | original |  | 4.50 ±0.50 |" in text
    assert "| set | lyra 3.2 | 2.80 | +0.50 (+0.50 to +0.50) | +5.0 (+5.0 to +5.0) |" in text
    assert "Left out: PESQ.\n" in text


def test_it_says_loudly_what_is_left_out_and_goes_on_where_it_was_stopped(
    speech_tar: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(name: str, weights: Path | None) -> MuLaw:
        if name == "mu_law":
            return MuLaw()
        raise CodecWeightsError("its weights cannot be had")

    def absent() -> speech_quality.Score:
        raise ImportError("No module named 'visqol'")

    monkeypatch.setattr(codec_choice.codecs, "load", load)
    monkeypatch.setitem(speech_quality.METRICS, "visqol", speech_quality.Metric("ViSQOL", "visqol", absent))
    out, page, plot = tmp_path / "codec.json", tmp_path / "codec.md", tmp_path / "heard.png"
    arguments = [
        "--data",
        str(speech_tar("test-clean-00")),
        "--limit",
        "1",
        "--json",
        str(out),
        "--opus",
        "6",
    ]
    arguments += ["--codecs", "mu_law", "lost", "--metrics", "stoi", "visqol", "wer", "--model", "tiny.en"]
    codec.main([*arguments, "--markdown", str(page), "--plot", str(plot)])
    printed = capsys.readouterr().out
    assert "left out: lost: its weights cannot be had" in printed
    assert "left out: ViSQOL: No module named 'visqol'" in printed

    found = json.loads(out.read_text())
    assert set(found["left_out"]) == {"lost", "ViSQOL"}
    rows = found["sets"]["test-clean-00"]
    assert [row["channel"] for row in rows] == ["original", "mu_law", "mu_law", "Opus"]
    assert rows[0]["scores"]["stoi"]["mean"] == pytest.approx(1)
    assert rows[0]["scores"]["stoi"]["mean"] > rows[2]["scores"]["stoi"]["mean"] > 0.9
    assert rows[3]["real_kbps"] < 8
    assert rows[3]["word_errors"]["words"] > 2
    assert "| mu_law 128 |" in page.read_text()
    assert plot.read_bytes().startswith(b"\x89PNG")

    kept = out.with_suffix(".scores.jsonl")
    lines = [line for line in kept.read_text().splitlines() if line]
    assert len(lines) == 4 * 2
    codec.main(arguments)
    assert [line for line in kept.read_text().splitlines() if line] == lines
    assert json.loads(out.read_text())["sets"] == found["sets"]

    codec.main([*arguments, "--limit", "2", "--words-limit", "1"])
    more = json.loads(out.read_text())["sets"]["test-clean-00"][3]
    assert more["clips"] == 2
    assert more["word_errors"] == rows[3]["word_errors"]


def test_speed_is_measured_in_both_directions_and_every_size(clean: np.ndarray) -> None:
    speeds = list(codec_speed.measure(MuLaw(), clean[:16_100], rounds=2))
    assert {(one.way, one.streams, one.piece_ms) for one in speeds} == {
        (way, streams, piece_ms)
        for way in ("encode", "decode")
        for streams in (1, 32)
        for piece_ms in (40, 80, 240)
    }
    assert all(len(one.factors) == 2 and min(one.factors) > 0 for one in speeds)
