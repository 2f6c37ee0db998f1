"""The same speech through several channels, as pictures of its spectrum over time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.speech_tars import SAMPLE_RATE

SECONDS = 4.0
FLOOR_DB, CEILING_DB = -105.0, -30.0
COLOURS = 64  # enough for the eye, and a third of the bytes
_WINDOW, _HOP = 512, 128


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """(bins, frames) in dB under full scale, no lower than FLOOR_DB; `samples` is float32 of shape (samples,)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(frames * window) / window.sum()) ** 2
    return 10 * np.log10(np.maximum(power.T, 10 ** (FLOOR_DB / 10)))


def draw_spectrograms(heard: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes a PNG with a panel for each channel, of the first seconds of its samples at 16 kHz."""
    import matplotlib
    from PIL import Image

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(heard) // 2)
    figure, panels = pyplot.subplots(
        rows,
        2,
        figsize=(9, 1.7 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
        dpi=80,
    )
    for axes, (name, samples) in zip(panels.flat, heard.items(), strict=False):
        part = samples[: int(SECONDS * SAMPLE_RATE)]
        extent = (0, len(part) / SAMPLE_RATE, 0, SAMPLE_RATE / 2000)
        axes.imshow(
            spectrogram(part),
            origin="lower",
            aspect="auto",
            extent=extent,
            cmap="magma",
            vmin=FLOOR_DB,
            vmax=CEILING_DB,
        )
        axes.set_title(name, fontsize=9)
    for axes in panels.flat[len(heard) :]:
        axes.set_axis_off()
    figure.supxlabel("seconds", fontsize=9)
    figure.supylabel("kHz", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    picture.quantize(COLOURS).save(path, optimize=True)
    pyplot.close(figure)
