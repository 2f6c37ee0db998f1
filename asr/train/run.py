"""A training run's folder: settings, the state to go on from, what was measured on the way, and the best so far.

settings.json     what the run was begun with
state.pt          weights, optimiser and how far it came; written in one step, read without unpickling objects
log.jsonl         a line for every few steps and every examination
events.out...     the same for TensorBoard
best/             the adapter that did best, in PEFT's format
"""

import fcntl
import json
import os
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from voicewire.asr.errors import SettingsError
from voicewire.asr.train.settings import FitSettings

SETTINGS_FILE, STATE_FILE, LOG_FILE = "settings.json", "state.pt", "log.jsonl"


class Run:
    """One run's folder, opened to begin it or to go on."""

    def __init__(self, folder: Path, settings: FitSettings) -> None:
        """Raises SettingsError where the folder holds a run with other settings, or another process trains in it;
        OSError where it is no folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.settings = folder, settings
        self._log = (folder / LOG_FILE).open("a", encoding="utf-8")
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two would overwrite each other's state
        except BlockingIOError:
            self._log.close()
            raise SettingsError(
                f"another process trains in {folder}: wait for it, or give another folder"
            ) from None
        if self._is_begun() and _lasting(read_settings(folder)) != _lasting(settings):
            self._log.close()
            raise SettingsError(
                f"{folder} holds a run with other settings: give another folder, or leave the settings out "
                "to go on with those"
            )
        settings.save(folder / SETTINGS_FILE)
        self._board = SummaryWriter(str(folder))

    def _is_begun(self) -> bool:
        """Whether there is something that other settings would spoil."""
        return (self.folder / STATE_FILE).exists() or (self.folder / "best").exists()

    @property
    def best(self) -> Path:
        return self.folder / "best"

    def log(self, step: int, hours: float, group: str, values: dict[str, float]) -> None:
        """Numbers, to both logs."""
        line = {"step": step, "hours": round(hours, 4), "at": round(time.time(), 1), "kind": group}
        line |= {name: round(value, 5) for name, value in values.items()}
        self._write(line)
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)

    def note_beginning(self, adapter: str) -> None:
        """Keeps what a new run begins with, for its model card."""
        self._write({"kind": "begin", "adapter": adapter, "at": round(time.time(), 1)})

    def _write(self, line: dict[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()

    def save(self, state: dict[str, Any]) -> None:
        """Keeps the state to go on from."""
        temporary = self.folder / f"{STATE_FILE}.part"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / STATE_FILE)

    def state(self) -> dict[str, Any] | None:
        """What `save` kept last; None for a new run. Raises SettingsError where it is damaged."""
        file = self.folder / STATE_FILE
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise SettingsError(
                f"{file} is damaged: begin a new run with --begin-with {self.best}, or delete the folder"
            ) from error
        return state

    def close(self) -> None:
        self._board.close()
        self._log.close()


def read_settings(folder: Path) -> FitSettings:
    """Raises SettingsError where the folder holds no run, or a damaged one."""
    try:
        return FitSettings.read(folder / SETTINGS_FILE)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder} holds no run that can be read: {error}") from error


def read_log(folder: Path) -> list[dict[str, Any]]:
    """What was logged, but for a line that was cut off with its process.

    Raises:
        SettingsError: there is no log.
    """
    try:
        text = (folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingsError(f"{folder} holds no run that can be read: {error}") from error
    lines = []
    for line in text.splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines


def _lasting(settings: FitSettings) -> dict[str, Any]:
    """What may not change on the way: a run may be made longer."""
    return settings.model_dump(exclude={"hours"})
