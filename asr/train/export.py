"""A run's best adapter as a folder to give away: PEFT's two files and a model card."""

import shutil
from pathlib import Path

from voicewire.asr.errors import SettingsError
from voicewire.asr.peft_format import CONFIG_FILE, TENSORS_FILE, read_peft
from voicewire.asr.train.card import Figures, write_card
from voicewire.asr.train.curve import draw_curve
from voicewire.asr.train.run import read_log, read_settings
from voicewire.asr.train.shards import Shard

CARD_FILE = "README.md"
CURVE_FILE = "curve.png"


def export_run(run_folder: Path, out: Path, shards: list[Shard]) -> None:
    """Writes the adapter that did best and what is known of it.

    Args:
        run_folder: of a run that was examined once at least.
        out: made where it is missing; its name is the adapter's.
        shards: what the run was trained on.

    Raises:
        SettingsError: there is no run, or nothing has been kept yet.
        WeightsError: what was kept is damaged.
        OSError: the folder cannot be written to.
    """
    settings = read_settings(run_folder)
    best = run_folder / "best"
    if not (best / CONFIG_FILE).is_file():
        raise SettingsError(
            f"{run_folder} has kept no adapter yet: let `voicewire train fit` run to its first examination"
        )
    changes = read_peft(best)
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG_FILE, TENSORS_FILE):
        shutil.copyfile(best / name, out / name)
    figures = Figures.of(read_log(run_folder))
    drawn = draw_curve(figures, out / CURVE_FILE)
    card = write_card(out.resolve().name, settings, changes, shards, figures, CURVE_FILE if drawn else None)
    (out / CARD_FILE).write_text(card, encoding="utf-8")
