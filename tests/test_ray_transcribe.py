"""A folder of recordings on a node of Ray, by two workers: what fails, what is there, and what kills a worker."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.speech_tars import Clip
from benchmarks.word_errors import count_errors
from tests import ray_node
from voicewire.client.audio_files import AudioFile
from voicewire.client.errors import CommandError
from voicewire.client.local import Heard, ModelChoice
from voicewire.client.main import app
from voicewire.client.recordings import find_recordings
from voicewire.client.transcript_batch import Status
from voicewire.client.transcript_files import TranscriptFiles
from voicewire.streaming.subtitles.transcripts import TimedTranscript
from voicewire.streaming.subtitles.writers import SubtitleFormat

pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'voicewire[ray]'")
from voicewire.client.ray_batch import RayBatch

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module", autouse=True)
def node() -> Iterator[None]:
    with ray_node.node():
        yield


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str, int], list[Clip]]) -> dict[Path, str]:
    """Recordings in a tree, with what is said in them; and one that is none."""
    said = {}
    for number, clip in enumerate(sorted(clips("test-clean-00", 12), key=lambda clip: clip.duration)[:3]):
        path = tmp_path / "archive" / str(number % 2) / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip.samples, 16_000)
        said[path] = clip.text
    (tmp_path / "archive" / "broken.mp3").write_text("no audio")
    return said


def transcribe(*arguments: str | Path) -> tuple[int, str, dict[str, str]]:
    """The command's exit status, what it says, and what came of each recording by its name."""
    summary = Path(arguments[0]).parent / "summary.json"
    given = ["transcribe", *arguments, "--ray", "--workers", "2", "--model", "tiny.en", "--summary", summary]
    result = CliRunner().invoke(app, [str(one) for one in given])
    outcomes = json.loads(summary.read_text())["recordings"]
    return (
        result.exit_code,
        result.output,
        {Path(one["recording"]).name: one["status"] for one in outcomes},
    )


def test_a_folder_is_transcribed_and_the_second_time_passed_over(
    folder: dict[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a relative path may mean another one to a worker
    archive, texts = Path("archive"), Path("texts")
    exit_status, said, outcomes = transcribe(archive, "-o", texts, "-f", "txt,json")
    assert outcomes == {"0.wav": "done", "1.wav": "done", "2.wav": "done", "broken.mp3": "failed"}
    assert exit_status == 1
    assert "broken.mp3 is not audio" in said
    for path, text in folder.items():
        result = texts / path.relative_to(archive.absolute()).with_suffix(".txt")
        errors = count_errors(text, result.read_text())
        assert errors.deletions + errors.substitutions + errors.insertions <= max(3, 0.25 * errors.words)
    assert len(list(texts.rglob("*"))) == 2 + 2 * len(folder)

    (archive / "broken.mp3").unlink()
    exit_status, _, outcomes = transcribe(archive, "-o", texts, "-f", "txt,json")
    assert (exit_status, outcomes) == (0, {path.name: "skipped" for path in folder})


class Deadly:
    """A transcriber whose process does not survive recordings of silence; words are not what is tested here."""

    def transcribe(self, audio: AudioFile, heard: Heard) -> TimedTranscript:
        if not any(block.any() for block in audio.blocks()):
            os.kill(os.getpid(), signal.SIGKILL)
        return TimedTranscript("en", 1.0, ())

    def close(self) -> None: ...

    def kill(self) -> None: ...


def test_a_recording_that_kills_its_worker_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.full(16_000, 0.1 * (number != 1)), 16_000)
    recordings, results = find_recordings([str(tmp_path)]), TranscriptFiles([SubtitleFormat.TXT])
    batch = RayBatch(Deadly, recordings, results, Console(quiet=True), ModelChoice(), workers=2)
    outcomes = batch.run()
    assert [outcome.status for outcome in outcomes] == [
        Status.DONE, Status.FAILED, Status.DONE, Status.DONE
    ]  # fmt: skip
    assert "want of memory" in str(outcomes[1].error)
    assert [results.are_done(one) for one in recordings] == [True, False, True, True]


def no_model() -> Deadly:
    raise CommandError("there is no model 'nosuch'")


def test_workers_that_cannot_begin_are_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.ones(160), 16_000)
    recordings, results = find_recordings([str(tmp_path)]), TranscriptFiles([SubtitleFormat.TXT])
    batch = RayBatch(no_model, recordings, results, Console(quiet=True), ModelChoice(), workers=1)
    with pytest.raises(CommandError, match="there is no model 'nosuch'"):
        batch.run()


@pytest.mark.parametrize("command", ["transcribe clip.wav --ray", "serve --ray 2"])
def test_without_ray_a_command_says_what_to_install(command: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.zeros(160), 16_000)
    without = "import sys; sys.modules['ray'] = None; from voicewire.client.main import app; app()"
    result = subprocess.run(
        [sys.executable, "-c", without, *command.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "pip install 'voicewire[server,weights,ray]'" in " ".join(result.stderr.split())


def test_standard_output_is_not_for_a_cluster(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.zeros(160), 16_000)
    result = CliRunner().invoke(app, ["transcribe", str(tmp_path / "one.wav"), "--ray", "-o", "-"])
    assert "not for -" in " ".join(result.output.split())
