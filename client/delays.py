"""How long after it was spoken a word is shown, and how long until it is settled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles

from voicewire.client.tokens import Event
from voicewire.streaming.messages import TranscriptMessage, WordItem


@dataclass(frozen=True, slots=True)
class WordDelay:
    """One committed word, whole: a piece that came later belongs to it, and so does its punctuation.

    Attributes:
        text: without the space before it.
        start_s, end_s: where its letters lie in the audio.
        probability: of its least certain piece.
        shown_s: from its end in the audio to the moment when it was first shown, be it in the tail; a change of
            mind about it counts from then. Below zero when it was guessed before it was over.
        settled_s: to the moment when it was committed.
    """

    text: str
    start_s: float
    end_s: float
    probability: float
    shown_s: float
    settled_s: float


class DelayMeter:
    """Takes a stream's events as they come.

    Args:
        since_spoken: gives for a time of the audio how long ago, in seconds, that was spoken.
    """

    def __init__(self, since_spoken: Callable[[float], float]) -> None:
        self.words: list[WordDelay] = []
        self._since_spoken = since_spoken
        self._count = 0
        # What stands at each place after the committed words, and how long ago time zero was when it came there.
        self._shown: dict[int, tuple[str, float]] = {}

    def add(self, event: Event) -> None:
        """Takes any event; those that bear no words change nothing."""
        if not isinstance(event, TranscriptMessage):
            return
        for word in event.words:
            piece = self._measured(word)
            if piece is None:
                self._append_punctuation(word)
            elif self.words and not word.word[:1].isspace():
                self.words[-1] = _joined(self.words[-1], piece)
            else:
                self.words.append(piece)
        self._note_tail(event.tail)

    def _measured(self, word: WordItem) -> WordDelay | None:
        """The word with its delays; None where it is punctuation alone."""
        name = _name(word)
        if not name:
            return None
        settled_s = self._since_spoken(word.end)
        seen, origin_s = self._shown.pop(self._count, ("", 0.0))
        self._count += 1
        # Both clocks run alike, so the time since it was shown is how much further back time zero lies now.
        earlier_s = self._since_spoken(0.0) - origin_s if seen == name else 0.0
        return WordDelay(
            word.word.strip(), word.start, word.end, word.probability, settled_s - earlier_s, settled_s
        )

    def _append_punctuation(self, word: WordItem) -> None:
        if self.words:
            self.words[-1] = replace(self.words[-1], text=self.words[-1].text + word.word.rstrip())

    def _note_tail(self, tail: Sequence[WordItem]) -> None:
        now_s = self._since_spoken(0.0)
        before, self._shown = self._shown, {}
        for place, name in enumerate(filter(None, map(_name, tail)), self._count):
            seen, origin_s = before.get(place, ("", 0.0))
            self._shown[place] = (name, origin_s if seen == name else now_s)


@dataclass(frozen=True, slots=True)
class Spread:
    """A few figures of many delays, in seconds."""

    median_s: float
    p95_s: float
    longest_s: float

    @classmethod
    def of(cls, delays: Sequence[float]) -> "Spread":
        """Of at least one delay."""
        p95 = quantiles(delays, n=20, method="inclusive")[-1] if len(delays) > 1 else delays[0]
        return cls(median(delays), p95, max(delays))


def _joined(before: WordDelay, piece: WordDelay) -> WordDelay:
    """A word that came in two pieces is there when the second is."""
    return WordDelay(
        before.text + piece.text,
        before.start_s,
        piece.end_s,
        min(before.probability, piece.probability),
        piece.shown_s,
        piece.settled_s,
    )


def _name(word: WordItem) -> str:
    """The word without case and punctuation, which come and go while it is still the same word."""
    return "".join(char for char in word.word.casefold() if char.isalnum())
