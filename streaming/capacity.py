"""How many live sessions a recogniser carries, measured: real speech, the real model, real batches.

The clock is a reckoned one: it goes on by the time that each step takes, and jumps over the time in which there is
nothing to do. So a load that takes a tenth of the machine is measured in a tenth of the time that it lasts.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from voicewire.asr.settings import SAMPLE_RATE, StreamSettings
from voicewire.streaming.decoding import Samples
from voicewire.streaming.intake import Intake
from voicewire.streaming.logs import get_logger
from voicewire.streaming.recogniser import Measure, Recogniser, room_of
from voicewire.streaming.settings import ServerSettings

log = get_logger(__name__)

# How much of a recogniser's time its sessions may take: speech is denser at times, and windows end.
BUSY = 0.75
_CLIP = Path(__file__).parent / "clips" / "reading.opus"
_FIRST, _MORE = 4, 2.5  # sessions at first, and how many times as many next
_WARM_S = 1.6  # until every stream has settled its first block
_WATCHED_S = 1.2  # in which every stream settles one
_PIECE_S = 0.06  # audio comes in such pieces
_MOST_BEHIND_S = 1.0  # who is so far behind is overloaded


def measure_of(settings: ServerSettings) -> Measure:
    """How a server finds out what its recognisers carry, where that was not said."""
    return room_of if settings.max_sessions != "auto" else partial(_measured, settings=settings.stream)


def _measured(recogniser: Recogniser, settings: StreamSettings) -> int:
    began = time.monotonic()
    capacity = measured_capacity(recogniser, settings)
    log.info("capacity_measured", sessions=capacity, seconds=round(time.monotonic() - began, 2))
    return capacity


def measured_capacity(
    recogniser: Recogniser, settings: StreamSettings, clock: Callable[[], float] = time.perf_counter
) -> int:
    """Sessions with these settings, each at the pace of speech, that take up `BUSY` of the recogniser's time.

    At least one, and no more than it has slots; takes a few seconds, and leaves it as it was.
    """
    speech = _speech()
    count, fitting, share = min(_FIRST, recogniser.capacity), 0, 0.0
    while True:
        wanted = _share(recogniser, settings, count, speech, clock)
        if wanted > BUSY:
            # Between two counts the time grows evenly.
            return max(1, int(fitting + (count - fitting) * (BUSY - share) / (wanted - share)))
        if count == recogniser.capacity:
            return count
        count, fitting, share = min(int(count * _MORE), recogniser.capacity), count, wanted


def _share(
    recogniser: Recogniser,
    settings: StreamSettings,
    count: int,
    speech: Samples,
    clock: Callable[[], float],
) -> float:
    """The part of a recogniser's time that so many sessions take, above 1 where it is not enough."""
    slots = [recogniser.open(settings) for _ in range(count)]
    # The sessions are at different places of the speech, and of their ticks.
    places = [round(at * len(speech) / count) for at in range(count)]
    starts_s = [at * settings.chunk_ms / 1000 / count for at in range(count)]
    sent_s = [0.0] * count
    now_s = busy_s = 0.0
    end_s = _WARM_S + _WATCHED_S
    try:
        while now_s < end_s:
            for at, slot in enumerate(slots):
                while sent_s[at] + _PIECE_S <= now_s - starts_s[at]:
                    begin = places[at] + round(sent_s[at] * SAMPLE_RATE)
                    piece = np.arange(begin, begin + round(_PIECE_S * SAMPLE_RATE)) % len(speech)
                    recogniser.push(slot, speech[piece])
                    sent_s[at] += _PIECE_S
            began = clock()
            if not recogniser.step():
                now_s += _PIECE_S / 6
                continue
            took_s = clock() - began
            now_s += took_s
            busy_s += min(took_s, max(0.0, now_s - _WARM_S))
            done_s = (
                sent_s[at] - recogniser.backlog_samples(slot) / SAMPLE_RATE for at, slot in enumerate(slots)
            )
            behind_s = now_s - min(done + start for done, start in zip(done_s, starts_s, strict=True))
            if behind_s > _MOST_BEHIND_S:
                return now_s / max(now_s - behind_s, _PIECE_S)
        return busy_s / (now_s - _WARM_S)
    finally:
        for slot in slots:
            recogniser.close(slot)


def _speech() -> Samples:
    """A few seconds, float32 of shape (samples,) at 16 kHz."""
    intake = Intake("ogg_opus", SAMPLE_RATE, 1)
    return np.concatenate([*intake.push(_CLIP.read_bytes()), intake.flush()])
