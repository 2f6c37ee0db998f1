"""What is given away: the adapter that did best, and a card that says what it is."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from voicewire.asr.errors import SettingsError, WeightsError
from voicewire.asr.low_rank import LowRank
from voicewire.asr.peft_format import TENSORS_FILE, read_peft, write_peft
from voicewire.asr.train.card import MOST_ROWS, Figures
from voicewire.asr.train.export import export_run
from voicewire.asr.train.run import Run
from voicewire.asr.train.settings import FitSettings
from voicewire.asr.train.shards import Shard, ShardWriter

SETTINGS = FitSettings(rank=2, targets=("query",), hours=12.0)
RATES = [0.30, 0.20, 0.25]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that was examined three times and did best the second time."""
    folder = tmp_path / "run"
    with closing(Run(folder, SETTINGS)) as run:
        run.note_beginning("base-start")
        for index, rate in enumerate(RATES):
            step = 20 * (index + 1)
            run.log(step, index + 1.0, "training", {"total": 2.0})
            scores = {"dev-00 1200 rate": rate, "dev-00 300 rate": rate + 0.1, "mean": rate + 0.05}
            scores |= {"dev-00 1200 substitutions": 0.1, "dev-00 1200 deletions": 0.06}
            run.log(step, index + 1.0, "examination", scores | {"dev-00 1200 insertions": 0.04})
        change = LowRank(torch.randn(2, 4), torch.randn(3, 2), 1.0)
        write_peft(run.best, {"encoder.blocks.0.attn.query.weight": change}, "whisper", ("query",))
    return folder


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    writer = ShardWriter(tmp_path, "speech")
    said = {"tokens": [1], "begins": [0.0], "due": [0.5], "text": "a"}
    books = {"corpus": "books", "licence": "CC BY 4.0"}
    half_an_hour = np.zeros(1800 * 16_000, np.float32)
    writer.add(half_an_hour, "one", **said, facts=books | {"speaker": "first"})
    writer.add(half_an_hour, "two", **said, facts=books | {"speaker": "second"}, labelled=False)
    writer.add(half_an_hour[:16_000], "three", **said, facts={"corpus": "of | phones"}, labelled=False)
    writer.add(half_an_hour[:16_000], "hum", facts={"corpus": "hums", "licence": "CC0"})
    writer.close()
    return [Shard.open(tmp_path, "speech")]


def test_the_best_adapter_comes_with_its_card(run_folder: Path, shards: list[Shard], tmp_path: Path) -> None:
    out = tmp_path / "adapters" / "mine"
    export_run(run_folder, out, shards)
    assert read_peft(out).keys() == {"encoder.blocks.0.attn.query.weight"}
    card = (out / "README.md").read_text()
    assert card.startswith("# mine: makes Whisper base causal\n")
    for line in (
        "| Kind | LoRA, rank 2, scale 1, 0.0 M parameters in float16; W + B A |",
        "| books | 1.00 | 2 | 2 | CC BY 4.0 | 1 are Whisper's own |",
        "| of / phones | 0.00 | 1 | - | not stated | Whisper's own |",
        "| hums (noise, music, silence) | 0.00 | 1 | - | CC0 | - |",
        "| began with | the adapter `base-start` |",
        "| windows seen | 3.0 h of 12 h planned, 4 of 30 s a step |",
        "| hours | mean | dev-00 1200 | dev-00 300 |",
        "| 1.00 | 35.0 | 30.0 | 40.0 |",
        "| **2.00** | **25.0** | **20.0** | **30.0** |",
        "| dev-00 1200 | 10.0 | 6.0 | 4.0 |",
        "    voicewire train fit RUN --data PREPARED --dev DEV.tar --hours 24",
    ):
        assert line in card.splitlines(), line
    assert "Training data: CC BY 4.0, CC0, not stated." in card
    assert "](curve.png)" in card
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_no_curve(
    run_folder: Path, shards: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    export_run(run_folder, tmp_path / "out", shards)
    assert "curve.png" not in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "curve.png").exists()


def test_a_run_that_was_never_examined_says_so_on_the_card(
    run_folder: Path, shards: list[Shard], tmp_path: Path
) -> None:
    (run_folder / "log.jsonl").write_text("")
    export_run(run_folder, tmp_path / "out", shards)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Not measured on the way" in card
    assert "| began with | unmodified Whisper |" in card


def test_a_run_with_nothing_in_it_cannot_be_exported(
    run_folder: Path, shards: list[Shard], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="holds no run"):
        export_run(tmp_path / "nowhere", out, shards)
    tensors = run_folder / "best" / TENSORS_FILE
    tensors.write_bytes(tensors.read_bytes()[:-7])
    with pytest.raises(WeightsError, match="cannot be read"):
        export_run(run_folder, out, shards)
    for file in (run_folder / "best").iterdir():
        file.unlink()
    with pytest.raises(SettingsError, match="kept no adapter yet"):
        export_run(run_folder, out, shards)
    assert not out.exists()


def examination(step: int, hours: float, rate: float, name: str = "dev") -> dict[str, object]:
    return {"kind": "examination", "step": step, "hours": hours, "mean": rate, f"{name} 1200 rate": rate}


def test_steps_that_were_made_again_count_once() -> None:
    """A run that was cut off goes on from the last state that it kept, which is behind the log."""
    log = [examination(20, 1.0, 0.3), examination(40, 2.0, 0.1), examination(40, 2.0, 0.2)]
    figures = Figures.of(log)
    assert [one.mean for one in figures.examinations] == [0.3, 0.2]
    cut = Figures.of([*log, examination(60, 3.0, 0.1), examination(30, 1.5, 0.4)])
    assert [one.hours for one in cut.examinations] == [1.0, 1.5]


def test_the_best_is_one_of_those_that_can_be_compared() -> None:
    figures = Figures.of(
        [examination(20, 1.0, 0.1, "easy"), examination(40, 2.0, 0.3), examination(60, 3.0, 0.3)]
    )
    assert figures.best.hours == 3.0
    assert figures.sets == ["dev 1200", "easy 1200"]


def test_a_long_run_has_a_short_table(run_folder: Path, shards: list[Shard], tmp_path: Path) -> None:
    rates = [0.5 - 0.001 * index if index != 77 else 0.01 for index in range(200)]
    log = [examination(index, index + 1.0, rate) for index, rate in enumerate(rates)]
    (run_folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in log))
    export_run(run_folder, tmp_path / "out", shards)
    table = [
        line for line in (tmp_path / "out" / "README.md").read_text().splitlines() if line.count("|") == 4
    ]
    hours = [line.split("|")[1].strip() for line in table if "." in line.split("|")[1]]
    assert MOST_ROWS <= len(hours) <= MOST_ROWS + 1
    assert {"1.00", "200.00", "**78.00**"} <= set(hours)
