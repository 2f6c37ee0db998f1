"""Delay against the number of live streams, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plot_load(steps: Sequence[Mapping[str, Any]], limit_s: float, path: Path) -> None:
    """Writes a PNG: for each server the median and 95th percentile of the delay of committed words."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained", dpi=120)
    for number, name in enumerate(dict.fromkeys(step["server"] for step in steps)):
        own = [step for step in steps if step["server"] == name and step["committed_s"]["p95"] is not None]
        clients = [step["clients"] for step in own]
        for kind, style in (("median", "--"), ("p95", "-")):
            delays = [step["committed_s"][kind] for step in own]
            axes.plot(clients, delays, f"C{number}{style}", marker="o", label=f"{name}, {kind}")
    axes.axhline(limit_s, color="0.5", linewidth=1)
    axes.set(xlabel="live streams", ylabel="seconds from a word's end until it is committed")
    axes.set_ylim(0, 3 * limit_s)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
