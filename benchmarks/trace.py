"""All that one stream said of a clip, look by look: what every figure about text that changes is made from."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from voicewire.asr.events import Transcript, Word


@dataclass(frozen=True, slots=True)
class Look:
    """One transcript event.

    Attributes:
        time_s: when it came, on the audio's own clock: computing takes no time on it.
        committed: how many words were committed by then.
        tail: what stood behind them.
    """

    time_s: float
    committed: int
    tail: tuple[Word, ...]


@dataclass(slots=True)
class Trace:
    """A stream from its start to its flush.

    Attributes:
        words: the committed words, in order.
        looks: what was shown and when, in order of time.
    """

    words: list[Word] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    def see(self, event: Transcript) -> None:
        """Takes the next event."""
        self.words += event.words
        self.looks.append(Look(event.processed_s, len(self.words), event.tail))

    @property
    def text(self) -> str:
        """The committed text."""
        return joined(self.words)

    def shown(self, look: Look) -> list[Word]:
        """What a reader saw from that look to the next one: committed words and tail."""
        return [*self.words[: look.committed], *look.tail]

    def shown_at(self, time_s: float) -> list[Word]:
        """What a reader saw at that time; behind the clip's end, what its flush left."""
        before = bisect_right(self.looks, time_s, key=lambda look: look.time_s)
        return self.shown(self.looks[before - 1]) if before else []

    def as_text(self) -> str:
        """One line of JSON, for the cache."""
        looks = [(look.time_s, look.committed, [astuple(word) for word in look.tail]) for look in self.looks]
        return json.dumps([[astuple(word) for word in self.words], looks], ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> "Trace":
        """Reads what `as_text` wrote."""
        words, looks = json.loads(text)
        return cls(_words(words), [Look(time_s, count, tuple(_words(tail))) for time_s, count, tail in looks])


def joined(words: Sequence[Word]) -> str:
    """Words as running text."""
    return "".join(word.text for word in words).strip()


def _words(rows: Sequence[Sequence[object]]) -> list[Word]:
    return [Word(*row) for row in rows]  # type: ignore[arg-type]
