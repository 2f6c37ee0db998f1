"""What a server with too much to do does less of, in which order, and when it takes that back.

Committed words are the last to suffer: first the words that may still change are looked at less often, then not at
all, then commits are no longer searched, and when none of that is enough the youngest session is let go.
"""

from dataclasses import replace
from enum import IntEnum

from voicewire.asr.effort import FULL, Effort
from voicewire.asr.settings import StreamSettings


class Rung(IntEnum):
    """How much is saved; each rung saves what the ones below it do, and more."""

    FULL = 0
    FEWER_LOOKS = 1  # every second look at the tail is left out
    NO_LOOKS = 2  # all of them are
    NO_BEAM = 3  # commits are decoded greedily
    SHEDDING = 4  # the youngest session is ended, and then the next

    @property
    def effort(self) -> Effort:
        """What is done for a stream here."""
        return _EFFORTS[self]

    def telling(self, settings: StreamSettings) -> "Rung":
        """The highest rung up to this one that changes anything for a stream with these settings."""
        if self >= Rung.NO_BEAM and settings.beam > 1:
            return Rung.NO_BEAM
        return min(self, Rung.NO_LOOKS) if settings.interim else Rung.FULL


_FEWER, _NONE = replace(FULL, look_every=2), replace(FULL, look_every=0)
_GREEDY = replace(_NONE, widest_beam=1)
_EFFORTS = {
    Rung.FULL: FULL,
    Rung.FEWER_LOOKS: _FEWER,
    Rung.NO_LOOKS: _NONE,
    Rung.NO_BEAM: _GREEDY,
    Rung.SHEDDING: _GREEDY,
}

# Shares of the bound at which a rung is climbed to, and of that, where it is left again. Without any load a
# session is up to 0.3 s late. Looks are saved soon after: they cost four tenths of the work, and a recogniser that
# is full has turns as long as a tick, for which every word waits. Of a bound of 4 s, 40 sessions on two cores have
# their words after 1.8 s (P95); where only what is behind after a turn counted, and from an eighth of the bound
# on, after 2.1 s (python -m benchmarks.load).
_CLIMB_AT = {
    Rung.FEWER_LOOKS: 0.1,
    Rung.NO_LOOKS: 0.125,
    Rung.NO_BEAM: 0.25,
    Rung.SHEDDING: 0.75,
}
_LEAVE_AT = 0.8
CALM_S = 10.0  # on each rung on the way down; longer where it was left too early before, up to
LONGEST_CALM_S = 160.0
SHED_S = 0.5  # from one session to the next: what a session leaves free has to show


class Ladder:
    """Where one engine stands. All times are seconds of any steady clock.

    Args:
        bound_s: no session that sends at the pace of speech is to be later; 0 never climbs.
    """

    def __init__(self, bound_s: float) -> None:
        self.rung = Rung.FULL
        self._bound_s = bound_s
        self._calm_since: float | None = None
        self._calm_s = CALM_S
        self._left_at: float | None = None
        self._watched: tuple[float, float] | None = None  # since when, and how late it was then
        self._late_s = 0.0

    def look(self, late_s: float, now: float) -> Rung:
        """The rung to stand on where the session that is worst off is so late."""
        self._late_s = late_s
        if self._bound_s <= 0:
            return self.rung
        wanted = max(
            (rung for rung, share in _CLIMB_AT.items() if late_s >= share * self._bound_s),
            default=Rung.FULL,
        )
        if wanted > self.rung:
            self._climb(wanted, now)
        elif self.rung and late_s < _LEAVE_AT * _CLIMB_AT[self.rung] * self._bound_s:
            self._rest(now)
        else:
            self._calm_since = None
        return self.rung

    def shed(self, now: float) -> bool:
        """Whether a session is to be let go now; asked after `look`.

        Not while the backlog falls: a machine that was busy with something else for a while catches up by itself.
        """
        if self.rung < Rung.SHEDDING or self._late_s < _CLIMB_AT[Rung.SHEDDING] * self._bound_s:
            self._watched = None
            return False
        if self._watched is None:
            self._watched = now, self._late_s
            return False
        since, late_s = self._watched
        if now - since < SHED_S:
            return False
        self._watched = now, self._late_s
        return self._late_s >= late_s

    def _climb(self, rung: Rung, now: float) -> None:
        """Where the way down was begun too early, the next one begins later: a steady load is tried seldom."""
        too_early = self._left_at is not None and now - self._left_at < self._calm_s
        self._calm_s = min(2 * self._calm_s, LONGEST_CALM_S) if too_early else CALM_S
        self._calm_since, self._left_at = None, None
        self.rung = rung

    def _rest(self, now: float) -> None:
        """One rung down after each stretch of calm."""
        if self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= self._calm_s:
            self.rung = Rung(self.rung - 1)
            self._calm_since = self._left_at = now
