"""The curve of delay against errors, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot_labels import annotate

_STYLES = {
    "sizes": ("C0", "o"),
    "reluctance": ("C1", "s"),
    "haste": ("C3", "v"),
    "passes": ("C4", "D"),
    "window": ("C5", "P"),
    "beam": ("C2", "^"),
}
_TITLES = {
    "sizes": "chunk:commit, ms",
    "reluctance": "reluctance to wait, at {around}",
    "haste": "haste of the tail, at {around}",
    "passes": "passes a look, at {around}",
    "window": "windows left after, s, at {around}",
    "beam": "beam search, at {around}",
}
_TAIL_S_OWN = {"haste", "passes"}  # what is committed is the same with any of them


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
    shown = {"committed": [one for one in points if one["varied"] not in _TAIL_S_OWN], "interim": points}
    for axes, (kind, some) in zip(both, shown.items(), strict=True):
        _draw(axes, kind, some, around, offline)
    both[0].set(ylabel="word error rate, %, with 95 % intervals", title="committed text")
    both[0].set(xlabel="seconds from a word's end until it is committed, median")
    both[1].set(xlabel="seconds from a word's end until it stands there for good, median")
    both[1].set(title="interim text: errors 0.6 s after each word")
    both[0].set_ylim(bottom=0)
    both[0].legend(*both[1].get_legend_handles_labels(), frameon=False, fontsize=9)
    # Labels are placed in pixels, so all else must stand where it will stay.
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axes, (kind, some) in zip(both, shown.items(), strict=True):
        places = [_place(point, kind) for point in some]
        labels = [str(point["label"]).rpartition(" ")[2] for point in some]
        annotate(axes, places, labels, [_STYLES[point["varied"]][0] for point in some])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def _draw(
    axes: Any,
    kind: str,
    points: Sequence[Mapping[str, Any]],
    around: str,
    offline: Mapping[str, Any],
) -> None:
    """One panel, without its labels."""
    low, high = (100 * offline[name] for name in ("wer_low", "wer_high"))
    axes.axhspan(low, high, color="0.5", alpha=0.12, linewidth=0)
    axes.axhline(100 * offline["wer"], color="0.5", linewidth=1, label="Whisper base, offline")
    for varied, (color, marker) in _STYLES.items():
        alike = [point for point in points if point["varied"] == varied]
        if not alike:
            continue
        delays, errors = zip(*(_place(point, kind) for point in alike), strict=True)
        axes.errorbar(
            delays,
            errors,
            yerr=list(zip(*(_bar(_rate(point, kind)) for point in alike), strict=True)),
            fmt=marker,
            color=color,
            ecolor=(color, 0.3),
            elinewidth=3,
            label=_TITLES[varied].format(around=around),
        )
    axes.margins(x=0.1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _rate(point: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    rate: Mapping[str, Any] = point if kind == "committed" else point[kind]
    return rate


def _place(point: Mapping[str, Any], kind: str) -> tuple[float, float]:
    return point["delay_s"][kind]["median"], 100 * _rate(point, kind)["wer"]


def _bar(rate: Mapping[str, Any]) -> tuple[float, float]:
    """How far the interval reaches below and above."""
    return 100 * (rate["wer"] - rate["wer_low"]), 100 * (rate["wer_high"] - rate["wer"])
