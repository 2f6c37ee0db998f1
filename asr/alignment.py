"""When tokens were spoken: a monotonic path through the decoder's attention to the audio."""

import numpy as np
from numpy.typing import NDArray

from voicewire.asr.settings import FRAME_S

LATE_S = 0.04  # the attention moves to a token this much before its sound begins; measured on dev-00
Floats = NDArray[np.float32]


def monotonic_path(weights: Floats) -> NDArray[np.int64]:
    """The best way to cut frames into one stretch per row, in order.

    Args:
        weights: how well a frame fits a row, shape = (rows, frames), with frames >= rows.
    Returns:
        first frame of each row's stretch, shape = (rows,); row 0 begins at frame 0, every stretch has a frame.

    The total weight of the stretches is the largest possible: the dynamic time warping of openai-whisper's
    timing.py without steps that stay on a frame, as a row of cumulative sums and running maxima.
    """
    rows, frames = weights.shape
    sums = np.concatenate([np.zeros((rows, 1)), np.cumsum(weights, 1, dtype=np.float64)], 1)
    total = sums[0]  # total[t]: best sum of the rows so far over the frames before t
    total[0] = -np.inf
    starts = np.zeros((rows, frames + 1), dtype=np.int64)
    for row in range(1, rows):
        gain = total - sums[row]  # of beginning the row at frame t
        best = np.maximum.accumulate(gain[:-1])
        where = np.maximum.accumulate(np.where(gain[:-1] >= best, np.arange(frames), 0))
        total = np.concatenate([[-np.inf], best + sums[row][1:]])
        starts[row, 1:] = where
    cuts = np.zeros(rows, dtype=np.int64)
    end = frames
    for row in range(rows - 1, 0, -1):
        cuts[row] = end = starts[row, end]
    return cuts


def token_times(attention: Floats, from_s: float) -> list[tuple[float, float]]:
    """Start and end in seconds after the first frame, one pair per token.

    Args:
        attention: row i is the alignment heads' look at the audio while token i was predicted, and one more
            row for what came after the last token; shape = (tokens + 1, frames).
        from_s: where the first token may begin.
    """
    tokens, frames = attention.shape[0] - 1, attention.shape[1]
    first = min(int(from_s / FRAME_S), max(0, frames - tokens - 1))
    window = attention[:, first:]
    if window.shape[1] <= tokens:
        return [(first * FRAME_S, frames * FRAME_S)] * tokens
    weights = window / np.maximum(window.sum(1, keepdims=True), 1e-9)
    cuts = first + monotonic_path(weights)
    starts = np.minimum(cuts * FRAME_S + LATE_S, frames * FRAME_S)
    starts[0] = cuts[0] * FRAME_S  # not a cut of the path, but where the last token ended
    return [(float(starts[token]), float(starts[token + 1])) for token in range(tokens)]
