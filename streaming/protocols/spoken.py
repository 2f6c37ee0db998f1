"""Words as other protocols have them: whole, with their punctuation, and without a leading space.

The recogniser's items are to be joined as they are: punctuation that is known only after its word comes as an item
of its own. Clients of other protocols put a space between whatever they are given, so a word is given to them when
the next one begins, or when nothing more can come.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from voicewire.streaming.messages import WordItem

# Clients take a confidence of zero for one that is not known.
_LEAST_CONFIDENCE = 0.0001


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word with the punctuation that belongs to it.

    Attributes:
        text: without outer spaces.
        start, end: seconds on the session's clock.
        confidence: of its least certain part, above 0 and at most 1.
    """

    text: str
    start: float
    end: float
    confidence: float

    @property
    def plain(self) -> str:
        """In lower case and without punctuation around it; as it is where there is nothing else in it."""
        first, last = 0, len(self.text)
        while first < last and _is_mark(self.text[first]):
            first += 1
        while last > first and _is_mark(self.text[last - 1]):
            last -= 1
        return self.text[first:last].lower() or self.text


class Words:
    """Gathers items into words."""

    def __init__(self) -> None:
        self._items: list[WordItem] = []

    @property
    def open(self) -> list[WordItem]:
        """The items of the word that may still get its punctuation."""
        return self._items

    def add(self, items: Iterable[WordItem]) -> list[SpokenWord]:
        """Takes committed items; gives the words that are whole by now."""
        whole = []
        for item in items:
            if item.word[:1].isspace():
                whole += self.finish()
            self._items.append(item)
        return whole

    def finish(self) -> list[SpokenWord]:
        """Nothing more belongs to the last word: gives it, if there is one."""
        items, self._items = self._items, []
        text = "".join(item.word for item in items).strip()
        if not text:
            return []
        least = min(item.probability for item in items)
        return [SpokenWord(text, items[0].start, items[-1].end, max(least, _LEAST_CONFIDENCE))]


def spoken(items: Iterable[WordItem]) -> list[SpokenWord]:
    """The words of items to which nothing will be added."""
    words = Words()
    return [*words.add(items), *words.finish()]


def confidence(words: list[SpokenWord]) -> float:
    """Of several words: the mean, 0 where there are none."""
    return round(sum(word.confidence for word in words) / len(words), 4) if words else 0.0


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"
