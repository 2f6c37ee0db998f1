"""Notices when the decoder has nothing to say while somebody certainly speaks: then it has lost its way."""

from dataclasses import dataclass

PATIENCE_S = 15.0  # of speech in which nobody says a word; songs and other languages have words too


@dataclass(slots=True)
class Watchdog:
    """Watches one stream.

    Attributes:
        until_s: how far it has watched.
        silent_s: seconds of speech since the last word.
    """

    until_s: float = 0.0
    silent_s: float = 0.0

    def heard(self, until_s: float, *, speech: bool, words: bool) -> bool:
        """Takes the next stretch of audio, its speech and its words; whether the decoder has to start afresh."""
        stretch_s = max(0.0, until_s - self.until_s)
        self.until_s = until_s
        self.silent_s = 0.0 if words else self.silent_s + (stretch_s if speech else 0.0)
        if self.silent_s < PATIENCE_S:
            return False
        self.silent_s = 0.0
        return True
