"""Whether a thread that works in turns is still moving."""

import time


class Pulse:
    """One thread beats at the beginning of each turn and rests when it has nothing to do; any thread may look."""

    def __init__(self) -> None:
        self._turn_began: float | None = None

    def beat(self) -> None:
        """A turn begins."""
        self._turn_began = time.monotonic()

    def rest(self) -> None:
        """There is nothing to do."""
        self._turn_began = None

    @property
    def turn_s(self) -> float:
        """Seconds since the present turn began; 0 at rest."""
        began = self._turn_began
        return 0.0 if began is None else time.monotonic() - began
