"""What an assistant is told at a time: the words since the last pause or flush, growing and at their end."""

from collections.abc import Iterable
from dataclasses import dataclass

from voicewire.client.tokens import Event
from voicewire.streaming.messages import Done, EndpointMessage, FlushedMessage, TranscriptMessage, WordItem


@dataclass(frozen=True, slots=True)
class Segment:
    """Words that follow each other; there is at least one.

    Attributes:
        words: each with the punctuation that belongs to it; times are seconds of the session's audio.
        final: nothing of it will change, and what follows is another segment. Before, it is told anew and longer.
    """

    words: tuple[WordItem, ...]
    final: bool

    @property
    def text(self) -> str:
        """The words joined, without outer spaces."""
        return "".join(word.word for word in self.words).strip()

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end

    @property
    def confidence(self) -> float:
        """The words' mean, 0 to 1."""
        return sum(word.probability for word in self.words) / len(self.words)


class Segments:
    """Gathers the words of one session into segments."""

    def __init__(self) -> None:
        self._committed: list[WordItem] = []
        self._told = ""

    def hear(self, event: Event) -> Segment | None:
        """Takes what the server said; gives the segment where there is news of it."""
        match event:
            case TranscriptMessage():
                self._committed += event.words
                return self._news(event.tail)
            case EndpointMessage() | FlushedMessage() | Done():
                return self.end()
        return None

    def end(self) -> Segment | None:
        """Nothing more belongs to the segment: gives it for good, where it has any words."""
        words, self._committed, self._told = _whole(self._committed), [], ""
        return Segment(words, final=True) if words else None

    def _news(self, tail: list[WordItem]) -> Segment | None:
        words = _whole([*self._committed, *tail])
        if not words:
            return None
        segment = Segment(words, final=False)
        told, self._told = self._told, segment.text
        return segment if segment.text != told else None


def _whole(items: Iterable[WordItem]) -> tuple[WordItem, ...]:
    """The items, with punctuation that came as an item of its own in the word before it, if there is one."""
    words: list[WordItem] = []
    for item in items:
        if any(character.isalnum() for character in item.word):
            words.append(item)
        elif words:
            last = words[-1]
            words[-1] = last.model_copy(update={"word": last.word + item.word, "end": item.end})
    return tuple(words)
