"""`voicewire train`, from a tar of recordings to an adapter that transcribes; and that it learns on the way."""

import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from benchmarks.speech_tars import Clip
from benchmarks.word_errors import count_errors
from tests.training import english, pair, timed_clips, write_tar
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.events import Transcript
from voicewire.asr.peft_format import read_peft
from voicewire.asr.settings import StreamSettings
from voicewire.asr.train.loss import batch_loss
from voicewire.asr.train.network import AdaptedWhisper
from voicewire.asr.train.run import read_log
from voicewire.asr.train.settings import FitSettings, WindowSettings
from voicewire.asr.train.shards import Shard, open_shards
from voicewire.asr.train.windows import WindowMaker
from voicewire.asr.weights import load_checkpoint
from voicewire.client.main import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
STEPS = 8
CONFIG = FitSettings(
    model="tiny.en", rank=8, batch=2, rate=2e-3, warm_up=2, decay=0.5, hours=STEPS * 2 * 30 / 3600,
    windows=WindowSettings(seed=3),
)  # fmt: skip


def voicewire(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)], env={"COLUMNS": "160", "NO_COLOR": "1"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments: str | Path) -> str:
    result = voicewire(*arguments)
    assert result.exit_code == 0, result.output
    return re.sub(r"\s+", " ", result.output)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("tiny.en", download=False)


@pytest.fixture(scope="module")
def toy(speech_tar: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with about two minutes of speech, some noise, and a development tar of two utterances."""
    folder = tmp_path_factory.mktemp("toy")
    clips = timed_clips(speech_tar("dev-00"), 18)
    for name, chosen in (("speech", clips[:16]), ("dev", clips[16:])):
        members: dict[str, bytes] = {}
        for clip in chosen:
            members |= pair(
                clip.key, clip.samples, text=clip.text, language="en", corpus="books", licence="CC BY 4.0"
            )
        write_tar(folder / f"{name}.tar", members)
    with tarfile.open(speech_tar("noise-00")) as tar:
        first = sorted(tar.getnames())[:8]
        write_tar(folder / "noise.tar", {name: _bytes(tar, name) for name in first})
    CONFIG.save(folder / "config.json")
    return folder


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert isinstance(file, io.BufferedReader)
    return file.read()


@pytest.fixture(scope="module")
def prepared(toy: Path) -> Path:
    out = toy / "prepared"
    said = done(
        "prepare", toy / "speech.tar", toy / "noise.tar", "-o", out, "--model", "tiny.en", "--device", "cpu"
    )
    assert re.search(r"speech\.tar [│|] (15|16) ", said), said
    return out


@pytest.fixture(scope="module")
def trained(toy: Path, prepared: Path) -> Path:
    run = toy / "run"
    fit = ("fit", run, "--data", prepared, "--dev", toy / "dev.tar", "--threads", "1")
    assert "the same command goes on" in done(*fit, "--config", toy / "config.json", "--minutes", "0.02")
    assert "goes on" not in done(*fit)
    return run


def loss_of(checkpoint: Checkpoint, prepared: Path, changes: dict[str, Any]) -> float:
    """Of windows that are always the same and not among those that were trained on."""
    model = AdaptedWhisper(checkpoint, CONFIG.targets, CONFIG.rank, torch.float32)
    model.begin_with(changes)
    windows = WindowMaker(open_shards([prepared]), WindowSettings(seed=99), checkpoint.dims.n_mels, 2)
    with torch.no_grad():
        losses = [
            batch_loss(model, windows[number], english(checkpoint), CONFIG, random.Random(number)).total
            for number in range(1)
        ]
    return float(torch.stack(losses).mean())


def test_it_learns(checkpoint: Checkpoint, prepared: Path, trained: Path) -> None:
    before = loss_of(checkpoint, prepared, {})
    after = loss_of(checkpoint, prepared, read_peft(trained / "best"))
    assert after < 0.85 * before, (before, after)


def test_a_run_goes_on_where_it_stopped(trained: Path) -> None:
    log = read_log(trained)
    examined = [line["step"] for line in log if line["kind"] == "examination"]
    assert examined[-1] == STEPS
    assert 1 <= examined[0] < STEPS
    assert {"dev 1200 rate", "dev 300 deletions", "mean"} <= log[-1].keys()
    assert list(trained.glob("events.out.tfevents.*"))
    assert FitSettings.read(trained / "settings.json") == CONFIG


def test_repeating_a_command_does_nothing_twice(toy: Path, prepared: Path, trained: Path) -> None:
    said = done("prepare", toy / "speech.tar", "-o", prepared, "--model", "tiny.en")
    assert "prepared before" in said
    again = done("fit", trained, "--data", prepared, "--threads", "1")
    assert "the run is over" in again


def test_an_exported_adapter_transcribes(toy: Path, prepared: Path, trained: Path) -> None:
    out = toy / "adapters" / "toy"
    assert "--streaming --adapter" in done("export", trained, out, "--data", prepared)
    card = (out / "README.md").read_text()
    assert card.startswith("# toy: makes Whisper tiny.en causal")
    assert "| books |" in card
    assert "| esc-10 (noise, music, silence) |" in card
    transcriber = BatchTranscriber.load("tiny.en", slots=1, adapter=out, device="cpu", precision="float32")
    assert transcriber.adapter.name == "toy"
    slot = transcriber.open(StreamSettings(interim=False))
    shard = next(shard for shard in open_shards([prepared]) if shard.name == "speech")
    transcriber.push(slot, shard.audio(shard.utterances[0]))
    transcriber.flush(slot)
    words = []
    while news := transcriber.step():
        words += [word.text for event in news[slot] if isinstance(event, Transcript) for word in event.words]
    assert words


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("fit", "{new}", "--data", "{toy}"), "nothing is prepared in"),
        (("fit", "{new}", "--data", "{prepared}", "--config", "{toy}/speech.tar"), "cannot be used"),
        (("fit", "{new}", "--data", "{prepared}"), "another model's vocabulary"),
        (("fit", "{run}", "--data", "{prepared}", "--config", "{toy}/other.json"), "other settings"),
        (("fit", "{new}", "--data", "{prepared}", "--dev", "{toy}/noise.tar"), "no recordings with a text"),
        (("export", "{toy}", "{new}", "--data", "{prepared}"), "holds no run"),
        (("prepare", "{toy}/config.json", "-o", "{new}", "--model", "tiny.en"), "cannot be read as a tar"),
        (("prepare", "{toy}/speech.tar", "{toy}/speech.tar", "-o", "{new}"), "same name"),
        (("prepare", "{toy}/speech.tar", "-o", "{toy}/speech.tar", "--model", "tiny.en"), "speech.tar"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    arguments: tuple[str, ...], why: str, toy: Path, prepared: Path, trained: Path, tmp_path: Path
) -> None:
    (toy / "other.json").write_text(json.dumps(CONFIG.model_dump() | {"rank": 3}))
    places = {"toy": toy, "prepared": prepared, "run": trained, "new": tmp_path / "new"}
    result = voicewire(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 1, result.output
    assert "error:" in result.output
    assert why in re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize("command", ["prepare", "fit", "export"])
def test_every_part_explains_itself_with_examples(command: str) -> None:
    said = done(command, "--help")
    assert "Example" in said
    assert f"voicewire train {command}" in said


# the page


def test_the_page_names_every_setting_and_its_default() -> None:
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told: dict[str, str] = {}
    for names, values in rows:
        found = [
            name if not name.startswith(".") else f"windows{name}" for name in re.findall(r"`([^`]+)`", names)
        ]
        split = values.strip().split(", ") if len(found) > 1 else [values.strip()]
        told |= dict(zip(found, split, strict=False))
    defaults = FitSettings().model_dump()
    windows = {f"windows.{name}": value for name, value in defaults.pop("windows").items()}
    for name, value in (defaults | windows).items():
        assert name in told, name
        if name != "targets":
            assert told[name] == (f"{value:g}" if isinstance(value, float) else str(value)), name


def test_the_page_s_example_prepares_recordings(
    clips: Callable[[str, int], list[Clip]], tmp_path: Path
) -> None:
    clip = min(clips("test-clean-00", 12), key=lambda one: abs(one.duration - 6))
    (tmp_path / "recordings").mkdir()
    soundfile.write(tmp_path / "recordings" / "one.wav", clip.samples, 16_000)
    (example,) = re.findall(
        r"^<!-- runnable -->\n```bash\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euc", example],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    (utterance,) = Shard.open(tmp_path / "prepared", "mine").utterances
    assert not utterance.labelled
    assert utterance.facts == {"corpus": "mine", "licence": "my own"}
    errors = count_errors(clip.text, utterance.text)
    assert errors.deletions + errors.substitutions <= 0.35 * errors.words
