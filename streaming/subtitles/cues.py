"""Words to subtitle cues: where to break, how to fold into lines, how long to show them.

Breaks are chosen for the whole text at once, as the cheapest path through all cues that are possible (Knuth and
Plass did this for paragraphs); the limits are those that broadcasters and streaming services publish.
"""

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from voicewire.streaming.messages import WordItem

SENTENCE_ENDS = ".?!…。？！"  # noqa: RUF001
CLAUSE_ENDS = ",;:–—、，；："  # noqa: RUF001
CLOSERS = "\"')]}»”’"  # noqa: RUF001

# Silence inside a cue that is never shown as one: the words after it would give away what is yet to be said.
LONGEST_PAUSE_S = 3.0
# Words with impossible times (all at once) are still shown one cue after the other, each for so long.
BLINK_S = 0.1


@dataclass(frozen=True, slots=True)
class CueRules:
    """What a cue may be.

    Attributes:
        line_width: characters of a line; a wide character (Chinese, Japanese) counts as two. A single word that
            is longer stands alone on its line.
        lines: 1 or 2.
        reading_speed: characters per second; a cue stays for as long as reading takes, if no other one follows.
        shortest_s: a cue stays at least so long, if no other one follows.
        longest_s: and never longer than this.
    """

    line_width: int = 42
    lines: int = 2
    reading_speed: float = 17.0
    shortest_s: float = 1.0
    longest_s: float = 7.0


@dataclass(frozen=True, slots=True)
class CueWord:
    """A word of a cue, with its punctuation, and when it is spoken.

    Attributes:
        spaced: whether a space stands before it.
    """

    text: str
    spaced: bool
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle.

    Attributes:
        lines: its text.
        words: the same word by word, shape = (lines, words of the line).
        speaker: whose words they are, where that is known.
    """

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    words: tuple[tuple[CueWord, ...], ...] = ()
    speaker: str | None = None

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(slots=True)
class _Token:
    """What is never broken: a word with the punctuation that follows it."""

    text: str
    spaced: bool
    start_s: float
    end_s: float

    @property
    def ends_sentence(self) -> bool:
        return self.text.rstrip(CLOSERS)[-1:] in tuple(SENTENCE_ENDS)

    @property
    def ends_clause(self) -> bool:
        return self.text.rstrip(CLOSERS)[-1:] in tuple(CLAUSE_ENDS)

    @property
    def is_small(self) -> bool:
        """An article, a preposition, and such: a line does not like to end with it."""
        return len(self.text) <= 3 and self.text.isalpha()


DEFAULT_RULES = CueRules()


def lay_out(words: Sequence[WordItem], rules: CueRules = DEFAULT_RULES) -> list[Cue]:
    """The cues of a text.

    Every word comes in one cue, in order. Cues do not overlap; each keeps to `rules`, save that a cue is short
    where the next one follows at once, and that a single word may be wider than a line.
    """
    tokens = list(_tokens(words))
    if not tokens:
        return []
    layout = _Layout(tokens, rules)
    edges = layout.best_edges()
    groups = list(itertools.pairwise(edges))
    starts: list[float] = []
    for first, _ in groups:
        earliest = starts[-1] + BLINK_S if starts else 0.0
        starts.append(max(tokens[first].start_s, earliest))
    cues = []
    for number, (first, last) in enumerate(groups):
        start_s = starts[number]
        next_s = starts[number + 1] if number + 1 < len(starts) else float("inf")
        reading_s = layout.width(first, last) / rules.reading_speed
        wanted_s = max(tokens[last - 1].end_s, start_s + max(rules.shortest_s, reading_s))
        end_s = min(wanted_s, next_s, start_s + rules.longest_s)
        lines = layout.lines(first, last)
        cues.append(
            Cue(
                round(start_s, 3),
                round(end_s, 3),
                tuple(layout.text(*line) for line in lines),
                tuple(layout.words(*line) for line in lines),
            )
        )
    return cues


def _tokens(words: Sequence[WordItem]) -> Iterator[_Token]:
    """Words joined with what belongs to them, their starts in order."""
    held: _Token | None = None
    for word in words:
        text = " ".join(word.word.split())
        if not text:
            continue
        spaced = word.word[0].isspace()
        start_s = max(word.start, held.start_s if held else 0.0)
        end_s = max(word.end, start_s)
        if held and not spaced and not _may_part(held.text[-1], text[0]):
            held.text += text
            held.end_s = max(held.end_s, end_s)
            continue
        if held:
            yield held
        held = _Token(text, spaced, start_s, end_s)
    if held:
        yield held


def _may_part(left: str, right: str) -> bool:
    """Whether a line may end between two characters without a space, as in scripts that write none."""
    return all(
        unicodedata.east_asian_width(char) in "WF" or "฀" <= char <= "໿" for char in (left, right)
    ) and (unicodedata.category(right)[0] == "L")


class _Layout:
    """The costs of breaking a text here or there."""

    def __init__(self, tokens: list[_Token], rules: CueRules) -> None:
        self.tokens = tokens
        self.rules = rules
        # Widths from the text's beginning, spaces included, so that any stretch is one subtraction.
        self._edges = [0]
        for token in tokens:
            self._edges.append(self._edges[-1] + cell_len(token.text) + token.spaced)

    def width(self, first: int, last: int) -> int:
        """Width of tokens `first` to `last` (not included) in one line."""
        return self._edges[last] - self._edges[first] - self.tokens[first].spaced

    def best_edges(self) -> list[int]:
        """Where the cues of the cheapest layout begin, and the end."""
        count = len(self.tokens)
        best = [0.0] + [float("inf")] * count
        came_from = [0] * (count + 1)
        for first in range(count):
            for last, cost in self._cues_from(first):
                if best[first] + cost < best[last]:
                    best[last] = best[first] + cost
                    came_from[last] = first
        edges = [count]
        while edges[-1]:
            edges.append(came_from[edges[-1]])
        return edges[::-1]

    def _cues_from(self, first: int) -> Iterator[tuple[int, float]]:
        """Every cue that may begin at `first`: where it ends, and what it costs."""
        tokens, rules = self.tokens, self.rules
        inside = 0.0
        for last in range(first + 1, len(tokens) + 1):
            if last - first > 1:
                before = tokens[last - 2]
                pause_s = tokens[last - 1].start_s - before.end_s
                too_long = (
                    max(tokens[last - 1].end_s, tokens[last - 2].end_s) - tokens[first].start_s
                    > rules.longest_s
                )
                if pause_s > LONGEST_PAUSE_S or too_long:
                    return
                inside += 1.5 * before.ends_sentence + 2.0 * max(0.0, pause_s - 0.6)
                if self.width(first, last) > rules.line_width * rules.lines + 1:
                    return
                if not self._fold(first, last):
                    continue
            yield last, 1.0 + inside + self._break_cost(last) + self._haste_cost(first, last)

    def _break_cost(self, last: int) -> float:
        if last == len(self.tokens):
            return 0.0
        before = self.tokens[last - 1]
        pause_s = self.tokens[last].start_s - before.end_s
        if before.ends_sentence:
            return 0.0
        if before.ends_clause:
            return 0.5 if pause_s >= 0.3 else 1.0
        if pause_s >= 0.3:
            return 0.5 if pause_s >= 0.7 else 1.5
        return 4.0 if before.is_small else 3.0

    def _haste_cost(self, first: int, last: int) -> float:
        """For a cue that the next one replaces before it can be read."""
        if last == len(self.tokens):
            return 0.0
        shown_s = max(BLINK_S, self.tokens[last].start_s - self.tokens[first].start_s)
        speed = self.width(first, last) / min(shown_s, self.rules.longest_s)
        too_short = max(0.0, self.rules.shortest_s - shown_s)
        return 4.0 * too_short + 0.2 * min(20.0, max(0.0, speed - self.rules.reading_speed))

    def lines(self, first: int, last: int) -> tuple[tuple[int, int], ...]:
        """The tokens of a cue, folded into lines of about one length."""
        folds = self._fold(first, last)
        if not folds or folds == [last]:
            return ((first, last),)
        fold = min(folds, key=lambda middle: self._fold_cost(first, middle, last))
        return (first, fold), (fold, last)

    def _fold(self, first: int, last: int) -> list[int]:
        """Where the second line may begin; `[last]` when one line is enough, nothing when two are too few."""
        width = self.rules.line_width
        if self.width(first, last) <= width:
            return [last]
        if self.rules.lines < 2:
            return []
        # A last line that is a bare number reads, to SRT parsers too, like the number of the next cue.
        end = last - 1 if self.tokens[last - 1].text.isdigit() else last
        return [
            middle
            for middle in range(first + 1, end)
            if self.width(first, middle) <= width and self.width(middle, last) <= width
        ]

    def _fold_cost(self, first: int, middle: int, last: int) -> float:
        above, below = self.width(first, middle), self.width(middle, last)
        token = self.tokens[middle - 1]
        favour = 8 * token.ends_clause + 12 * token.ends_sentence - 6 * token.is_small
        return abs(above - below) + (3 if above > below else 0) - favour

    def text(self, first: int, last: int) -> str:
        """One line."""
        parts = [" " * token.spaced + token.text for token in self.tokens[first:last]]
        return "".join(parts).strip()

    def words(self, first: int, last: int) -> tuple[CueWord, ...]:
        """The words of one line."""
        return tuple(
            CueWord(token.text, token.spaced and number > 0, token.start_s, token.end_s)
            for number, token in enumerate(self.tokens[first:last])
        )
