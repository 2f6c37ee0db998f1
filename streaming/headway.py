"""How far a session's audio has been looked at by all that are to look at it: the recogniser, a codec, or both."""

from collections import Counter
from collections.abc import Collection

from voicewire.streaming.commands import Part


class Headway:
    """Waits for the slower part.

    Args:
        parts: what is made of the session's audio.
    """

    def __init__(self, parts: Collection[Part]) -> None:
        self._unopened = set(parts)
        self._reached = dict.fromkeys(parts, 0)
        self._answers: Counter[str | None] = Counter()

    @property
    def processed_samples(self) -> int:
        """Samples that every part has looked at."""
        return min(self._reached.values())

    def opened(self, part: Part) -> bool:
        """Notes that a part has its slot; whether all have now."""
        self._unopened.discard(part)
        return not self._unopened

    def reached(self, part: Part, processed_samples: int) -> None:
        """Notes how far a part is."""
        self._reached[part] = processed_samples

    def answered(self, tag: str | None) -> bool:
        """Notes a part's answer to a flush; whether it was the last one."""
        self._answers[tag] += 1
        if self._answers[tag] < len(self._reached):
            return False
        del self._answers[tag]
        return True
