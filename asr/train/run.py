"""A training run's folder: settings, the state to go on from, what was measured on the way, and the best so far.

settings.json     what the run was begun with
state.pt          weights, optimiser and how far it came; written in one step, read without unpickling objects
log.jsonl         a line for every few steps and every examination
events.out...     the same for TensorBoard
best/             the adapter that did best, in PEFT's format
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from voicewire.asr.errors import SettingsError
from voicewire.asr.train.settings import FitSettings


class Run:
    """One run's folder, opened to begin it or to go on."""

    def __init__(self, folder: Path, settings: FitSettings) -> None:
        """Raises SettingsError where the folder holds a run with other settings, OSError where it is no folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.settings = folder, settings
        file = folder / "settings.json"
        if file.exists():
            begun = read_settings(folder)
            if _lasting(begun) != _lasting(settings):
                raise SettingsError(
                    f"{folder} holds a run with other settings: give another folder, or leave the settings out "
                    "to go on with those"
                )
        settings.save(file)
        self._board = SummaryWriter(str(folder))
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")

    @property
    def best(self) -> Path:
        return self.folder / "best"

    def log(self, step: int, hours: float, group: str, values: dict[str, float]) -> None:
        """Numbers, to both logs."""
        line = {"step": step, "hours": round(hours, 4), "at": round(time.time(), 1), "kind": group}
        line |= {name: round(value, 5) for name, value in values.items()}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)

    def save(self, state: dict[str, Any]) -> None:
        """Keeps the state to go on from."""
        temporary = self.folder / "state.pt.part"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / "state.pt")

    def state(self) -> dict[str, Any] | None:
        """What `save` kept last; None for a new run."""
        file = self.folder / "state.pt"
        if not file.exists():
            return None
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        return state

    def lines(self) -> list[dict[str, Any]]:
        """What was logged."""
        text = (self.folder / "log.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        self._board.close()
        self._log.close()


def read_settings(folder: Path) -> FitSettings:
    """Raises SettingsError where the folder holds no run, or a damaged one."""
    try:
        return FitSettings.read(folder / "settings.json")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder} holds no run that can be read: {error}") from error


def _lasting(settings: FitSettings) -> dict[str, Any]:
    """What may not change on the way: a run may be made longer."""
    return settings.model_dump(exclude={"hours"})
