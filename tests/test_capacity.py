"""What a recogniser carries, measured: more where it is quicker, within what it has, and left as it was."""

from typing import Any

import pytest

from tests.serving import get
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.capacity import BUSY, measured_capacity
from voicewire.streaming.recogniser import loader
from voicewire.streaming.server import running_server
from voicewire.streaming.settings import ServerSettings


class Clocked:
    """A recogniser that takes so long for each stream of a step, on a clock of its own.

    Ticks of 300 ms: a stream takes 3.33 times its cost of a second.
    """

    def __init__(self, cost_s: float, capacity: int) -> None:
        self.now = 0.0
        self.capacity = capacity
        self._cost_s = cost_s
        self._queued: dict[int, int] = {}

    def open(self, settings: Any) -> int:
        slot = len(self._queued)
        self._queued[slot] = 0
        return slot

    def push(self, slot: int, samples: Any) -> None:
        self._queued[slot] += len(samples)

    def backlog_samples(self, slot: int) -> int:
        return self._queued[slot]

    def step(self) -> dict[int, list[Any]]:
        ready = [slot for slot, samples in self._queued.items() if samples >= 4800]
        for slot in ready:
            self._queued[slot] -= 4800
        self.now += self._cost_s * len(ready)
        return {slot: [] for slot in ready}

    def close(self, slot: int) -> None:
        del self._queued[slot]

    @property
    def streams(self) -> int:
        return len(self._queued)


@pytest.mark.parametrize("cost_s", [0.003, 0.01, 0.02, 0.1])
def test_what_is_measured_is_what_fits(cost_s: float) -> None:
    recogniser = Clocked(cost_s, 200)
    capacity = measured_capacity(recogniser, StreamSettings(), lambda: recogniser.now)  # type: ignore[arg-type]
    assert capacity == pytest.approx(BUSY * 0.3 / cost_s, rel=0.25, abs=1)
    assert recogniser.streams == 0


def test_there_is_always_one_and_never_more_than_slots() -> None:
    for cost_s, slots, expected in ((5.0, 8, 1), (0.0001, 8, 8), (0.0001, 1, 1)):
        recogniser = Clocked(cost_s, slots)
        assert measured_capacity(recogniser, StreamSettings(), lambda one=recogniser: one.now) == expected  # type: ignore[arg-type,misc]


def test_a_server_measures_itself() -> None:
    settings = ServerSettings(max_sessions="auto", threads=1, codecs=("none",))
    with running_server(settings) as server:
        slots = get(f"{server.http_url}/readyz")[1]["slots"]
        assert 1 <= slots["capacity"] == server.engine.capacity <= 64
        assert slots["in_use"] == 0


def test_a_number_is_a_number_and_nothing_is_measured() -> None:
    assert ServerSettings(max_sessions="16").max_sessions == 16  # type: ignore[arg-type]
    for wrong in ("0", "many", "-1"):
        with pytest.raises(ValueError, match="max_sessions"):
            ServerSettings(max_sessions=wrong)  # type: ignore[arg-type]
    assert callable(loader(ServerSettings(max_sessions="auto", threads=1)))
