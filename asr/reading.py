"""Streams that are fed with the encoder's output, as a codec of words keeps it, instead of audio.

Ticks, commits and rules are those of any other stream. What differs: nothing is encoded, the decoder is shown
the features as they are, windows are those that the features were encoded in, and who speaks when is told with
them, since there is no sound to tell it.
"""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicewire.asr.encoder import Block, BlockEncoder
from voicewire.asr.errors import AudioError
from voicewire.asr.events import Event
from voicewire.asr.features import BLOCK, KEPT, WINDOW, FeatureStreams
from voicewire.asr.settings import FRAME_S, FRAME_SAMPLES
from voicewire.asr.stream import Stream
from voicewire.asr.voice_activity import CHUNK_SAMPLES
from voicewire.asr.window import Rollover

FLUSH_PADDING = 30  # frames of silence behind a flush, as behind one of audio


def feature_rows(features: NDArray[np.float32], voice: NDArray[np.float32] | None, width: int) -> Tensor:
    """Features, shape = (n, width), and how likely speech is in each, shape = (n,), as rows of a stream's queue.

    Without `voice` there is speech everywhere. Raises AudioError for other shapes, types, and what is not finite.
    """
    if voice is None:
        voice = np.ones(len(features), np.float32)
    if features.ndim != 2 or features.shape[1] != width or voice.shape != features.shape[:1]:
        raise AudioError(f"features must have shape (n, {width}), and their voice activity shape (n,)")
    rows = np.concatenate([features, voice[:, None]], 1).astype(np.float32)
    if not np.isfinite(rows).all():
        raise AudioError("features must be finite numbers")
    return torch.from_numpy(rows)


class FeatureReader:
    """Puts features where the decoder looks for the encoder's output.

    Args:
        encoder: into whose slots.
        places: see places.py.
    """

    row_samples = FRAME_SAMPLES  # that a row of a stream's queue stands for

    def __init__(self, encoder: BlockEncoder, places: Tensor) -> None:
        self.encoder = encoder
        self.places = places.to(encoder.model.device)

    def read(self, stream: Stream, rows: Tensor) -> list[Event]:
        """Takes a tick's rows, as feature_rows gives them."""
        if not len(rows):
            return []
        self._lay(stream, rows[:, :-1])
        stream.window.available += len(rows)
        stream.window.encoded = stream.window.available
        first = stream.clock_samples // FRAME_SAMPLES - len(rows)
        chunks = range(stream.gate.chunks, stream.clock_samples // CHUNK_SAMPLES)
        # A chunk is heard when it is over, and so in a frame that came with this tick.
        ends = [((chunk + 1) * CHUNK_SAMPLES - 1) // FRAME_SAMPLES - first for chunk in chunks]
        return stream.hear(np.zeros(0, np.float32), rows[ends, -1].numpy())

    def pad(self, stream: Stream) -> int:
        """Lays silence behind the features for a flush; gives its length in frames."""
        self._lay(stream, self.silence[BLOCK : BLOCK + FLUSH_PADDING])
        return FLUSH_PADDING

    def begin_window(self, stream: Stream, rollover: Rollover) -> None:
        """Shows the decoder what a new window begins with, once the frames that it keeps were moved there."""
        front = self.encoder.slots.front[stream.slot]
        front[: rollover.hidden] = self.silence[: rollover.hidden]
        stream.window.encoded = stream.window.available
        if stream.window.available:
            self._show(stream.slot, 0, stream.window.available)

    def _lay(self, stream: Stream, features: Tensor) -> None:
        at, end = stream.window.available, stream.window.available + len(features)
        self.encoder.slots.front[stream.slot, at:end] = features
        self._show(stream.slot, at, end)

    def _show(self, slot: int, start: int, end: int) -> None:
        front = self.encoder.slots.front[slot, start:end]
        self.encoder.show([Block(slot, start, end)], front + self.places[start:end].to(front))

    @cached_property
    def silence(self) -> Tensor:
        """What the encoder makes of silence from a stream's beginning, shape = (WINDOW, n_state)."""
        streams = FeatureStreams(self.encoder.model, self.places, 1)
        slot = streams.open()
        samples = np.zeros(WINDOW * FRAME_SAMPLES, np.float32)
        return torch.from_numpy(np.concatenate([streams.push(slot, samples), streams.flush(slot)]))


def reading_rollover(stream: Stream) -> Rollover | None:
    """When and how a stream of features leaves its window: where the encoder that made them left its own.

    A frame tells its place in the window it was encoded in, and the decoder reads by that; so the windows must be
    the same. What the window keeps begins in the middle of a word as often as not: all before the first whole word
    is hidden.
    """
    window, restart_s = stream.window, stream.restart_s
    left = window.committed >= WINDOW
    keep_from = WINDOW - KEPT if left else 0
    if restart_s is not None:
        hidden = round((restart_s - window.start_s) / FRAME_S) - keep_from
        return Rollover(keep_from, [], min(max(hidden, 0), WINDOW))
    if not left:
        return None
    earliest_s = (window.start + keep_from) * FRAME_S
    for index in stream.word_starts():
        start_s = window.spoken[index].start_s
        if start_s >= earliest_s:
            gap_s = start_s - (window.spoken[index - 1].end_s if index else window.start_s)
            hidden = round((start_s - gap_s / 2 - earliest_s) / FRAME_S)
            return Rollover(keep_from, window.spoken[index:], max(0, hidden))
    hidden = max(0, round((window.said_until_s - earliest_s) / FRAME_S)) if window.spoken else 0
    return Rollover(keep_from, [], hidden)
