"""The curve of delay against errors, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot_labels import annotate

_STYLES = {"sizes": ("C0", "o"), "reluctance": ("C1", "s"), "beam": ("C2", "^")}
_TITLES = {
    "sizes": "chunk:commit, ms",
    "reluctance": "reluctance to wait, at {around}",
    "beam": "beam search, at {around}",
}


def plot_tradeoff(
    points: Sequence[Mapping[str, Any]], offline: Mapping[str, Any], around: str, path: Path
) -> None:
    """Writes a PNG.

    Args:
        points: figures of PointOutcome.
        offline: figures of a rate, of unmodified Whisper on the same clips.
        around: the chunk and commit sizes at which the other things were varied.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # A point where no word was recognised has no delay, and so no place.
    points = [point for point in points if point["delay_s"]["committed"]["median"] is not None]
    figure, both = pyplot.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained", dpi=120)
    _draw(both[0], "committed", points, points, around, offline)
    _draw(both[1], "interim", points, [point["interim"] for point in points], around, offline)
    both[0].set(ylabel="word error rate, %, with 95 % intervals", title="committed text")
    both[0].set(xlabel="seconds from a word's end until it is committed, median")
    both[1].set(xlabel="seconds from a word's end until it stands there for good, median")
    both[1].set(title="interim text: errors 0.6 s after each word")
    both[0].set_ylim(bottom=0)
    both[0].legend(frameon=False, fontsize=9)
    # Labels are placed in pixels, so all else must stand where it will stay.
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axes, kind in zip(both, ("committed", "interim"), strict=True):
        rates = points if kind == "committed" else [point["interim"] for point in points]
        places = [_place(point, kind, rate) for point, rate in zip(points, rates, strict=True)]
        labels = [str(point["label"]).removeprefix("reluctance ") for point in points]
        annotate(axes, places, labels, [_STYLES[point["varied"]][0] for point in points])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def _draw(
    axes: Any,
    kind: str,
    points: Sequence[Mapping[str, Any]],
    rates: Sequence[Mapping[str, Any]],
    around: str,
    offline: Mapping[str, Any],
) -> None:
    """One panel, without its labels."""
    low, high = (100 * offline[name] for name in ("wer_low", "wer_high"))
    axes.axhspan(low, high, color="0.5", alpha=0.12, linewidth=0)
    axes.axhline(100 * offline["wer"], color="0.5", linewidth=1, label="Whisper base, offline")
    for varied, (color, marker) in _STYLES.items():
        pairs = [pair for pair in zip(points, rates, strict=True) if pair[0]["varied"] == varied]
        if not pairs:
            continue
        delays, errors = zip(*(_place(point, kind, rate) for point, rate in pairs), strict=True)
        axes.errorbar(
            delays,
            errors,
            yerr=list(zip(*(_bar(rate) for _, rate in pairs), strict=True)),
            fmt=marker,
            color=color,
            ecolor=(color, 0.3),
            elinewidth=3,
            label=_TITLES[varied].format(around=around),
        )
    axes.margins(x=0.1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _place(point: Mapping[str, Any], kind: str, rate: Mapping[str, Any]) -> tuple[float, float]:
    return point["delay_s"][kind]["median"], 100 * rate["wer"]


def _bar(rate: Mapping[str, Any]) -> tuple[float, float]:
    """How far the interval reaches below and above."""
    return 100 * (rate["wer"] - rate["wer_low"]), 100 * (rate["wer_high"] - rate["wer"])
