"""The training loop: windows, loss, step; the running mean of the weights is what is examined and kept."""

import logging
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from voicewire.asr.adapters import Adapter, load_adapter
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import SettingsError
from voicewire.asr.peft_format import write_peft
from voicewire.asr.precision import choose_precision
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.train.evaluation import Examination, Score, mean_rate
from voicewire.asr.train.loss import batch_loss
from voicewire.asr.train.network import AdaptedWhisper
from voicewire.asr.train.run import Run
from voicewire.asr.train.shards import Shard
from voicewire.asr.train.teacher import WINDOW_S
from voicewire.asr.train.windows import Window, WindowMaker
from voicewire.asr.weights import load_checkpoint

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps
CHECKED = 20  # utterances of a shard
MOST_BROKEN = 20  # steps in a row whose gradient is no number
LEAST_RATE = 0.02  # of the highest, at the end
Progress = Callable[["Standing"], None]


class Standing:
    """How far a run came.

    Attributes:
        step: optimiser steps made.
        hours: of windows seen.
        parts: the running mean of the loss's parts.
        scores: of the last examination.
        best: the least mean error rate so far.
    """

    def __init__(self) -> None:
        self.step = 0
        self.hours = 0.0
        self.parts: dict[str, float] = {}
        self.scores: dict[str, Score] = {}
        self.best = math.inf

    def take(self, parts: dict[str, float]) -> None:
        for name, value in parts.items():
            if not math.isfinite(value):
                continue  # it would stay in the mean for good
            self.parts[name] = 0.96 * self.parts.get(name, value) + 0.04 * value


class Trainer:
    """Fits an adapter to prepared speech, in a run's folder."""

    def __init__(
        self,
        run: Run,
        checkpoint: Checkpoint,
        shards: list[Shard],
        examination: Examination,
        device: str,
        begin_with: str | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Goes on where the folder's run stopped; else begins, with the adapter `begin_with` where one is named.

        Raises:
            WeightsError: that adapter is not to be had.
            SettingsError: it has a higher rank, or changes what is no target; or the shards were prepared for a
                model with another vocabulary.
            AudioError: nothing is said in the shards.
        """
        settings = run.settings
        self._run, self._settings, self._checkpoint = run, settings, checkpoint
        self._examination = examination
        self._device = device
        torch.manual_seed(settings.windows.seed)
        self.model = AdaptedWhisper(checkpoint, settings.targets, settings.rank, dtype, device)
        self._vocabulary = Vocabulary.of(checkpoint.dims, settings.language, self.model.device)
        _check_texts(shards, self._vocabulary)
        self._windows = WindowMaker(shards, settings.windows, checkpoint.dims.n_mels, settings.batch)
        self._optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.standing = Standing()
        self._stopped = False
        self._broken = 0
        state = run.state()
        if state is None and begin_with is not None:
            self._begin_with(begin_with)
        self._mean = _copy(self.model)
        if state is not None:
            self._restore(state)

    @classmethod
    def load(
        cls,
        run: Run,
        shards: list[Shard],
        examination: Examination,
        device: str = "auto",
        threads: int | None = None,
        begin_with: str | None = None,
    ) -> "Trainer":
        """With the model that the run's settings name, on a device as in BatchTranscriber.load.

        Raises, besides what the constructor does, SettingsError for a device that is not to be had.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint = load_checkpoint(run.settings.model)
        precision = choose_precision(checkpoint.dims, device=device, precision="auto")
        return cls(run, checkpoint, shards, examination, str(precision.device), begin_with, precision.dtype)

    def fit(
        self,
        *,
        minutes: float = math.inf,
        examine_minutes: float = 20.0,
        save_minutes: float = 5.0,
        progress: Progress = lambda _: None,
    ) -> Standing:
        """Trains until the settings' hours are seen, or the minutes are over, or a signal comes; then saves.

        Args:
            minutes: how long it may take.
            examine_minutes: how often the development sets are transcribed.
            save_minutes: how often the state is kept, so that at most that much is lost.
            progress: told after every step.

        Raises:
            RuntimeError: the gradient is no number, step after step.
        """
        if self._is_over:
            return self.standing
        end = time.monotonic() + 60 * minutes
        saved = examined = time.monotonic()
        with self._stopping_at_signals():
            with closing(self._batches()) as batches:
                for windows in batches:
                    self._step(windows)
                    progress(self.standing)
                    now = time.monotonic()
                    if self._stopped or now > end or self._is_over:
                        break
                    examining = now > examined + 60 * examine_minutes
                    if examining or now > saved + 60 * save_minutes:
                        self.save()  # before an examination, too, which takes minutes
                        saved = time.monotonic()
                    if examining:
                        self.examine()
                        examined = time.monotonic()
            self.save()
            if not self._stopped or self._examination.is_empty:
                self.examine()
                self.save()
        return self.standing

    @property
    def _is_over(self) -> bool:
        return self.standing.hours >= self._settings.hours

    def examine(self) -> None:
        """Transcribes the development sets with the mean weights; keeps these where they are the best so far."""
        adapter = Adapter("candidate", "the run's mean weights", self.model.changes(self._mean))
        if self._examination.is_empty:
            self._keep()
            return
        standing = self.standing
        standing.scores = self._examination.examine(
            self._checkpoint, adapter, self._device, self._settings.language
        )
        values = {
            f"{name} {part}": value
            for name, score in standing.scores.items()
            for part, value in asdict(score).items()
        }
        rate = mean_rate(standing.scores)
        self._run.log(standing.step, standing.hours, "examination", values | {"mean": rate})
        if rate <= standing.best:
            standing.best = rate
            self._keep()

    def save(self) -> None:
        """Keeps what is needed to go on."""
        standing = self.standing
        self._run.save(
            {
                "step": standing.step,
                "hours": standing.hours,
                "best": standing.best,
                "examination": self._examination.name,
                "model": self.model.state_dict(),
                "mean": self._mean,
                "optimiser": self._optimiser.state_dict(),
            }
        )

    # ---- a step

    def _batches(self) -> Generator[list[Window], None, None]:
        """Windows from the next step on, made by another process, which ends when this generator is closed."""
        steps = range(self.standing.step, self.standing.step + 10_000_000)
        yield from DataLoader(
            self._windows,
            batch_size=None,
            sampler=steps,
            num_workers=1,
            prefetch_factor=3,
            worker_init_fn=_leave_signals,
        )

    def _step(self, windows: list[Window]) -> None:
        standing, settings = self.standing, self._settings
        chance = random.Random(f"{settings.windows.seed} {standing.step}")
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        loss = batch_loss(self.model, windows, self._vocabulary, settings, chance)
        loss.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        if self._is_usable(norm):
            self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        standing.step += 1
        standing.hours += len(windows) * WINDOW_S / 3600
        self._follow()
        standing.take(loss.parts)
        if standing.step % LOG_EVERY == 0:
            values = standing.parts | {"rate": self._rate(), "gradient": float(norm)}
            self._run.log(standing.step, standing.hours, "training", values)

    def _is_usable(self, norm: Tensor) -> bool:
        """One gradient that is no number would spoil all weights for good."""
        self._broken = 0 if torch.isfinite(norm) else self._broken + 1
        if self._broken > MOST_BROKEN:
            raise RuntimeError("the gradient is no number any more: begin again with a lower rate")
        if self._broken:
            log.warning("step %d is left out: its gradient is no number", self.standing.step)
        return not self._broken

    def _rate(self) -> float:
        """Rises for the first steps, then falls as a cosine over the run's hours."""
        done = min(1.0, self.standing.hours / self._settings.hours)
        falling = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
        rising = min(1.0, (self.standing.step + 1) / max(1, self._settings.warm_up))
        return self._settings.rate * falling * rising

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the mean towards the weights; faster at first, when they are still far from anything good."""
        decay = min(self._settings.decay, (self.standing.step + 1) / (self.standing.step + 10))
        for name, parameter in self.model.named_parameters():
            self._mean[name].lerp_(parameter, 1 - decay)

    # ---- what is kept

    def _keep(self) -> None:
        base = f"openai/whisper {self._checkpoint.name} (openai-whisper state-dict names)"
        write_peft(self._run.best, self.model.changes(self._mean), base, self._settings.targets)

    def _begin_with(self, name: str) -> None:
        adapter = load_adapter(name, self._checkpoint)
        if adapter.replaced:
            raise SettingsError(
                f"{adapter.source} replaces whole tensors besides its low-rank changes: a run cannot begin with it"
            )
        self.model.begin_with(dict(adapter.changes))
        self._run.note_beginning(adapter.name)

    def _restore(self, state: dict[str, Any]) -> None:
        self.standing.step, self.standing.hours = state["step"], state["hours"]
        if state.get("examination", self._examination.name) == self._examination.name:
            self.standing.best = state["best"]  # else other questions were asked, and the scores mean nothing
        self.model.load_state_dict(state["model"])
        self._mean = {name: tensor.to(self.model.device) for name, tensor in state["mean"].items()}
        self._optimiser.load_state_dict(state["optimiser"])

    @contextmanager
    def _stopping_at_signals(self) -> Iterator[None]:
        """Interrupt and terminate end the run after its step, saved; the second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python gives signals to the main thread alone
            return

        def stop(_: int, __: FrameType | None) -> None:
            if self._stopped:
                raise KeyboardInterrupt
            self._stopped = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_signals(_: int) -> None:
    """Of the process that makes windows: the training process decides when it ends, also when a signal is sent to
    the whole group.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _check_texts(shards: list[Shard], vocabulary: Vocabulary) -> None:
    """Token numbers differ between models; nothing else would tell."""
    for shard in shards:
        for utterance in shard.utterances[:CHECKED]:
            if vocabulary.text(utterance.tokens).strip() != utterance.text:
                raise SettingsError(
                    f"the shard {shard.name} was prepared for another model's vocabulary: prepare its tar again, "
                    "with the model that is trained"
                )


def _copy(model: AdaptedWhisper) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
