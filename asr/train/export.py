"""A run's best adapter as a folder to give away."""

import shutil
from pathlib import Path

from voicewire.asr.errors import SettingsError
from voicewire.asr.peft_format import CONFIG_FILE, TENSORS_FILE, read_peft
from voicewire.asr.train.run import read_settings
from voicewire.asr.train.shards import Shard


def export_run(run_folder: Path, out: Path, shards: list[Shard]) -> None:
    """Writes the adapter that did best, in PEFT's format.

    Args:
        run_folder: of a run that was examined once at least.
        out: made where it is missing.
        shards: what the run was trained on.

    Raises:
        SettingsError: there is no run, or nothing has been kept yet.
        WeightsError: what was kept is damaged.
        OSError: the folder cannot be written to.
    """
    read_settings(run_folder)
    best = run_folder / "best"
    if not (best / CONFIG_FILE).is_file():
        raise SettingsError(f"{run_folder} has no best adapter yet: let `voicewire train fit` run on")
    read_peft(best)
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_FILE, TENSORS_FILE):
        shutil.copyfile(best / name, out / name)
