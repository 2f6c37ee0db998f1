"""Keeps the sessions of one recogniser at the pace of speech: by doing less for them, at last by ending some."""

import math
from collections.abc import Mapping

from voicewire.asr.settings import SAMPLE_RATE
from voicewire.streaming.commands import Eased, Report
from voicewire.streaming.ladder import Ladder, Rung
from voicewire.streaming.logs import get_logger
from voicewire.streaming.recogniser import Recogniser
from voicewire.streaming.seat import Seat

log = get_logger(__name__)

_SMOOTHED_S = 1.0  # over so long a turn's length counts: a single long one is no load


class Overload:
    """Watches one recogniser's sessions, turn by turn; belongs to its thread, but for `rung`.

    Args:
        bound_s: as the ladder's.
    """

    def __init__(self, bound_s: float) -> None:
        self._ladder = Ladder(bound_s)
        self._turn_s = 0.0  # their mean length lately
        self._watched_at = -math.inf

    @property
    def rung(self) -> Rung:
        """Where it stands."""
        return self._ladder.rung

    def admit(self, recogniser: Recogniser, seat: Seat) -> list[tuple[Seat, Report]]:
        """A session has its slot; what it is to be told, where less is done than it may expect."""
        return [self._ease(recogniser, seat, self.rung)] if self.rung else []

    def obey(self, recogniser: Recogniser, open_seats: Mapping[int, Seat]) -> None:
        """Before a step: what is prescribed for a session of a replay, from the sample that it has come to."""
        for slot, seat in open_seats.items():
            while seat.prescribed and seat.processed_samples >= seat.prescribed[0].from_samples:
                recogniser.set_effort(slot, seat.prescribed.pop(0).rung.effort)

    def watch(
        self, recogniser: Recogniser, open_seats: Mapping[int, Seat], turn_s: float, now: float
    ) -> tuple[list[tuple[Seat, Report]], Seat | None]:
        """After a step that took `turn_s`: what sessions are told, and the one that is to be let go, if one is.

        What a session says just after a turn has begun waits for all of it, and then for its own.
        """
        self._turn_s += (turn_s - self._turn_s) * (1 - math.exp((self._watched_at - now) / _SMOOTHED_S))
        self._watched_at = now
        behind_s = max(
            (seat.pace.behind_s(seat.processed_samples / SAMPLE_RATE, now) for seat in open_seats.values()),
            default=0.0,
        )
        before = self.rung
        rung = self._ladder.look(behind_s + self._turn_s, now)
        told: list[tuple[Seat, Report]] = []
        if rung is not before:
            log.warning(
                "load",
                rung=rung.name.lower(),
                behind_s=round(behind_s, 2),
                turn_s=round(self._turn_s, 3),
                sessions=len(open_seats),
            )
            told = [self._ease(recogniser, seat, rung) for seat in open_seats.values()]
        # The last one has nobody to make room for.
        shed = self._ladder.shed(now) and len(open_seats) > 1
        return told, list(open_seats.values())[-1] if shed else None

    def _ease(self, recogniser: Recogniser, seat: Seat, rung: Rung) -> tuple[Seat, Report]:
        assert seat.slot is not None
        recogniser.set_effort(seat.slot, rung.effort)
        return seat, Eased(rung, seat.processed_samples)
