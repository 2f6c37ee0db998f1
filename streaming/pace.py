"""How far a stream is behind somebody who speaks; audio that is sent faster than that can wait."""


class Pace:
    """One stream's audio, as it would have come at the pace of speech.

    Times are seconds of any steady clock.

    Args:
        received_s: audio that came elsewhere.
    """

    def __init__(self, received_s: float = 0.0) -> None:
        self._received_s = received_s
        self._due_s = received_s
        self._looked_at: float | None = None

    def hear(self, seconds: float, now: float) -> None:
        """So much audio has come."""
        self._advance(now)
        self._received_s += seconds

    def behind_s(self, processed_s: float, now: float) -> float:
        """Seconds of audio that a speaker would have said by now, that have come, and that were not looked at."""
        self._advance(now)
        return max(0.0, self._due_s - processed_s)

    def _advance(self, now: float) -> None:
        """Lets the speaker go on, no further than what has come."""
        passed_s = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        self._due_s = min(self._received_s, self._due_s + passed_s)
