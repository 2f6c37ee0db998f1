"""How much audio a key may still send: a minute's worth at once, and then at its rate."""

import time
from collections.abc import Callable


class Allowance:
    """A bucket of seconds that fills up all the time.

    Args:
        per_minute_s: seconds of audio for each minute; so much fits in.
        clock: any steady one, in seconds.
    """

    def __init__(self, per_minute_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute_s = per_minute_s
        self._clock = clock
        self._left_s = per_minute_s
        self._filled_at = clock()

    def spend(self, seconds: float) -> None:
        """So much audio has come; what is left may be less than nothing."""
        self._fill()
        self._left_s -= seconds

    def wait_s(self) -> float:
        """How long to wait before more is taken; 0 where something is left."""
        self._fill()
        return max(0.0, -self._left_s * 60 / self.per_minute_s)

    def _fill(self) -> None:
        now = self._clock()
        gained_s = (now - self._filled_at) * self.per_minute_s / 60
        self._left_s = min(self.per_minute_s, self._left_s + gained_s)
        self._filled_at = now
