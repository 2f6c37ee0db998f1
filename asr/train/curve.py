"""The curve of word errors against hours of training, drawn where matplotlib is installed."""

from pathlib import Path

from voicewire.asr.train.card import Figures


def draw_curve(figures: Figures, file: Path) -> bool:
    """Writes a PNG of a line per set; False where there is nothing to draw, or nothing to draw with.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not figures.examinations:
        return False
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name in figures.sets:
        points = [(one.hours, 100 * one.rates[name]) for one in figures.examinations if name in one.rates]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set_xlabel("hours of windows seen")
    axes.set_ylabel("word error rate, %")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(title="set, ms of a commit")
    figure.savefig(file, dpi=120, format="png")
    return True
