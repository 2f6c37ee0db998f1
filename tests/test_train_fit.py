"""The training loop on real speech with a small model: it learns, goes on where it stopped, and keeps the best."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.training import english, noise_of, pair, shard_of, timed_clips, write_tar
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import AudioError, SettingsError
from voicewire.asr.peft_format import read_peft
from voicewire.asr.train import evaluation, fit
from voicewire.asr.train.evaluation import Examination, Score, mean_rate
from voicewire.asr.train.fit import Standing, Trainer
from voicewire.asr.train.loss import Loss
from voicewire.asr.train.run import Run, read_log
from voicewire.asr.train.settings import FitSettings
from voicewire.asr.train.shards import Shard
from voicewire.asr.weights import load_checkpoint

SETTINGS: dict[str, Any] = {
    "model": "tiny.en",
    "rank": 4,
    "targets": ("query", "value"),
    "batch": 1,
    "rate": 1e-3,
    "warm_up": 0,
    "hours": 2 * 30 / 3600,
    "decay": 0.5,
}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint("tiny.en", download=False)


@pytest.fixture(scope="module")
def shards(
    speech_tar: Callable[[str], Path], checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> list[Shard]:
    folder = tmp_path_factory.mktemp("shards")
    clips = timed_clips(speech_tar("dev-00"), 6)
    return [shard_of(folder, "speech", clips, english(checkpoint)), noise_of(folder)]


@pytest.fixture
def train(checkpoint: Checkpoint, shards: list[Shard], tmp_path: Path) -> Callable[..., Any]:
    """`with train(): ...` opens a trainer in the test's folder."""

    @contextmanager
    def opened(folder: str = "run", exam: Examination | None = None, **settings: Any) -> Iterator[Trainer]:
        with closing(Run(tmp_path / folder, FitSettings(**(SETTINGS | settings)))) as run:
            yield Trainer(run, checkpoint, shards, exam or Examination([], 1), "cpu", dtype=torch.float32)

    return opened


class Scripted(Examination):
    """Marks that are known beforehand."""

    def __init__(self, rates: list[float]) -> None:
        super().__init__([], 1)
        self.rates = rates

    @property
    def is_empty(self) -> bool:
        return False

    def examine(self, *_: Any) -> dict[str, Score]:
        rate = self.rates.pop(0)
        return {"made-up 1200": Score(rate, rate, 0.0, 0.0)}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


@pytest.fixture
def children() -> Callable[[], set[psutil.Process]]:
    """Those of training: what other tests of this process started was there before, and is not to be touched."""
    this = psutil.Process()
    others = set(this.children(recursive=True))
    return lambda: set(this.children(recursive=True)) - others


def end_at(step: int) -> Callable[[Standing], None]:
    """Asks the process to end, as a service manager does."""

    def told(standing: Standing) -> None:
        if standing.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return told


def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(
    train: Callable[..., Any], children: Callable[[], set[psutil.Process]], tmp_path: Path
) -> None:
    """The same windows, the same weights, the same state of the optimiser."""
    with train("whole") as whole:
        whole.fit()
        wanted = weights(whole)
    handler = signal.getsignal(signal.SIGTERM)
    with train("cut") as first:
        first.fit(progress=end_at(1))
        assert first.standing.step == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not children()
    with train("cut") as second:
        assert (second.standing.step, second.standing.hours) == (1, pytest.approx(30 / 3600))
        second.fit()
        assert second.standing.step == 2
        got = weights(second)
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-4, atol=1e-6)
    best = [read_peft(tmp_path / folder / "best") for folder in ("whole", "cut")]
    for name, change in best[0].items():
        torch.testing.assert_close(best[1][name].delta, change.delta, rtol=1e-2, atol=1e-5)
    assert any(change.up.any() for change in best[0].values())


def test_a_run_that_is_over_makes_no_more_steps(train: Callable[..., Any]) -> None:
    with train(hours=30 / 3600) as trainer:
        assert trainer.fit().step == 1
    with train(hours=30 / 3600) as trainer:
        assert trainer.fit().step == 1
    with train(hours=60 / 3600) as trainer:  # it may be made longer
        assert trainer.fit().step == 2


def test_the_windows_process_outlives_a_signal_to_all(
    train: Callable[..., Any], children: Callable[[], set[psutil.Process]]
) -> None:
    """A terminal and a service manager signal the whole group; the training process decides when to end."""
    steps: list[int] = []

    def told(standing: Standing) -> None:
        steps.append(standing.step)
        for child in children():
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGINT)

    with train(hours=2 * 30 / 3600) as trainer:
        trainer.fit(progress=told)
    assert steps == [1, 2]
    assert not children()


def test_what_fails_leaves_no_process_behind(
    train: Callable[..., Any], children: Callable[[], set[psutil.Process]]
) -> None:
    def fail(_: Standing) -> None:
        assert children()
        raise OSError("disk full")

    with train() as trainer, pytest.raises(OSError, match="disk full"):
        trainer.fit(progress=fail)
    assert not children()


def test_a_second_signal_ends_it_at_once(train: Callable[..., Any]) -> None:
    def impatient(_: Standing) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with train() as trainer, pytest.raises(KeyboardInterrupt):
        trainer.fit(progress=impatient)


def test_it_trains_in_a_thread_too(train: Callable[..., Any]) -> None:
    with train(hours=30 / 3600) as trainer:
        thread = threading.Thread(target=trainer.fit)
        thread.start()
        thread.join()
        assert trainer.standing.step == 1


def test_the_best_is_kept(train: Callable[..., Any], tmp_path: Path) -> None:
    with train(exam=Scripted([0.5, 0.3, 0.4])) as trainer:
        for value in (1.0, 2.0, 3.0):
            for name, tensor in trainer._mean.items():
                if name.startswith("up"):
                    tensor.fill_(value)
            trainer.examine()
        assert trainer.standing.best == 0.3
        trainer.save()
    kept = read_peft(tmp_path / "run" / "best")
    assert {float(change.up.max()) for change in kept.values()} == {2.0}
    logged = [line["mean"] for line in read_log(tmp_path / "run") if line["kind"] == "examination"]
    assert logged == [0.5, 0.3, 0.4]


def test_scores_of_another_examination_are_not_compared(train: Callable[..., Any]) -> None:
    class Harder(Scripted):
        name = "harder"

    with train(exam=Scripted([0.1])) as trainer:
        trainer.examine()
        trainer.save()
    with train(exam=Scripted([])) as trainer:
        assert trainer.standing.best == 0.1
    with train(exam=Harder([0.6])) as trainer:
        trainer.examine()
        assert trainer.standing.best == 0.6


def test_a_gradient_that_is_no_number_spoils_nothing(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    honest = fit.batch_loss
    calls = []

    def loss(*arguments: Any) -> Loss:
        calls.append(1)
        one = honest(*arguments)
        return Loss(one.total * float("nan"), one.parts) if len(calls) == 1 else one

    monkeypatch.setattr(fit, "batch_loss", loss)
    with train(hours=2 * 30 / 3600) as trainer:
        trainer.fit()
        assert all(torch.isfinite(tensor).all() for tensor in weights(trainer).values())
        assert any(tensor.any() for name, tensor in weights(trainer).items() if name.startswith("up"))
    assert len(calls) == 2
    assert "step 0 is left out" in caplog.text


def test_other_settings_are_refused_once_it_has_begun(train: Callable[..., Any]) -> None:
    with train(rank=8):
        pass  # nothing was kept yet, so nothing is spoiled
    with train() as trainer:
        trainer.save()
    with pytest.raises(SettingsError, match="other settings"), train(rank=8):
        pass
    with train(hours=9.0):
        pass


def test_two_may_not_train_in_one_folder(train: Callable[..., Any]) -> None:
    with train(), pytest.raises(SettingsError, match="another process"), train():
        pass


def test_a_damaged_state_is_named(train: Callable[..., Any], tmp_path: Path) -> None:
    with train() as trainer:
        trainer.save()
    (tmp_path / "run" / "state.pt").write_bytes(b"no state")
    with pytest.raises(SettingsError, match=r"state\.pt is damaged"), train():
        pass


def test_a_line_that_was_cut_off_is_no_hindrance(tmp_path: Path) -> None:
    with closing(Run(tmp_path, FitSettings())) as run:
        run.log(20, 0.5, "training", {"total": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 40, "ho')
    assert [line["step"] for line in read_log(tmp_path)] == [20]


def test_shards_of_another_vocabulary_are_refused(
    checkpoint: Checkpoint, shards: list[Shard], tmp_path: Path
) -> None:
    base = load_checkpoint("base", download=False)
    with (
        closing(Run(tmp_path / "run", FitSettings(rank=2, targets=("query",)))) as run,
        pytest.raises(SettingsError, match="vocabulary"),
    ):
        Trainer(run, base, shards, Examination([], 1), "cpu")


def test_windows_without_words_alone_can_be_learnt_from(train: Callable[..., Any]) -> None:
    quiet = {"without_words": 1.0, "in_the_middle": 0.0}
    with train(hours=30 / 3600, windows=quiet) as trainer:
        trainer.fit()
        assert trainer.standing.parts["total"] > 0
        assert "emit_right" not in trainer.standing.parts


# the examination


@pytest.fixture
def exam_tar(shards: list[Shard], tmp_path: Path) -> Path:
    """Six recordings, two of them without a text."""
    members: dict[str, bytes] = {}
    for utterance in shards[0].utterances:
        text = utterance.text if len(members) >= 4 else ""
        members |= pair(utterance.key, shards[0].audio(utterance), text=text)
    return write_tar(tmp_path / "exam.tar", members)


def test_an_examination_is_the_same_every_time(exam_tar: Path, shards: list[Shard]) -> None:
    exam = Examination([exam_tar], 2, commits_ms=(1200,))
    keys = sorted(utterance.key for utterance in shards[0].utterances[2:])
    chosen = [recording.key for recording in exam._sets["exam"]]
    assert chosen == [keys[0], keys[2]]  # evenly from the whole
    assert exam.name != Examination([exam_tar], 3, commits_ms=(1200,)).name


def test_what_cannot_examine_is_refused(exam_tar: Path, shards: list[Shard], tmp_path: Path) -> None:
    samples = shards[0].audio(shards[0].utterances[0])
    with pytest.raises(AudioError, match="no recordings with a text"):
        Examination([write_tar(tmp_path / "mute.tar", pair("a", samples, language="zxx"))], 5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "exam.tar").symlink_to(exam_tar)
    with pytest.raises(SettingsError, match="same name"):
        Examination([exam_tar, tmp_path / "other" / "exam.tar"], 1)


def test_words_are_counted_in_the_language_s_own_way(tmp_path: Path, shards: list[Shard]) -> None:
    samples = shards[0].audio(shards[0].utterances[0])
    members = pair("a", samples, text="Don't, colour!") | pair("b", samples, text="Um.")
    recordings = Examination([write_tar(tmp_path / "t.tar", members)], 5)._sets["t"]
    perfect = evaluation._score(recordings, ["do not color", ""], evaluation._normaliser("en"))
    assert perfect == Score(0.0, 0.0, 0.0, 0.0)
    foreign = evaluation._score(recordings[:1], ["do not color"], evaluation._normaliser("de"))
    assert foreign.rate > 0.5
    assert evaluation._normaliser("zh")("你好。").split() == ["你", "好"]
    assert mean_rate({"a": Score(0.2, 0, 0, 0), "b": Score(0.4, 0, 0, 0)}) == pytest.approx(0.3)
