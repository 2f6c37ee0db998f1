"""Memory, cost and delay of a server over hours of audio, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.soak import Sample


def plot_soak(samples: Sequence["Sample"], path: Path) -> None:
    """Writes a PNG: one row of axes for each quantity, both parts of the soak one behind the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(3, figsize=(7, 6), sharex=True, layout="constrained", dpi=120)
    offset_h = 0.0
    for number, part in enumerate(dict.fromkeys(sample.part for sample in samples)):
        own = [sample for sample in samples if sample.part == part]
        hours = [offset_h + sample.until_s / 3600 for sample in own]
        colour = f"C{number}"
        rows[0].plot(hours, [sample.memory_mib for sample in own], colour, label=part)
        rows[1].plot(hours, [sample.cost_ms for sample in own], colour)
        for share, style in ((50, "-"), (95, "--")):
            delays = [np.percentile(sample.delays_s, share) if sample.delays_s else np.nan for sample in own]
            rows[2].plot(hours, delays, colour, linestyle=style)
        offset_h = hours[-1]
    rows[0].set_ylabel("memory, MiB")
    rows[1].set_ylabel("cost, ms per s")
    rows[2].set(ylabel="delay, s (median, P95)", xlabel="hours of audio")
    rows[0].legend(frameon=False, fontsize=9)
    for axes in rows:
        axes.set_ylim(0, 1.1 * axes.dataLim.y1)  # a line that is flat is not the frame
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
