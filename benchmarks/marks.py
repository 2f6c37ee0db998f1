"""Full stops, commas and capitals against another transcript: precision, recall and F1.

Only words count that both transcripts have; what is compared is how they are written. References of speech corpora
have neither case nor punctuation, so the other transcript is unmodified Whisper's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jiwer

from benchmarks.word_match import plain

_CLOSING = "\"'”’)]"  # noqa: RUF001 - typographic on purpose


@dataclass(frozen=True, slots=True)
class MarkCount:
    """One kind of mark, over the words that both transcripts have.

    Attributes:
        wanted: how many words have it in the transcript that is the measure.
        given: how many have it in the other.
        hits: how many have it in both.
    """

    wanted: int = 0
    given: int = 0
    hits: int = 0

    @property
    def precision(self) -> float | None:
        return self.hits / self.given if self.given else None

    @property
    def recall(self) -> float | None:
        return self.hits / self.wanted if self.wanted else None

    @property
    def f1(self) -> float | None:
        """None where neither transcript has the mark."""
        both = self.wanted + self.given
        return 2 * self.hits / both if both else None

    def __add__(self, other: "MarkCount") -> "MarkCount":
        return MarkCount(self.wanted + other.wanted, self.given + other.given, self.hits + other.hits)


def _ends_in(marks: str) -> Callable[[str], bool]:
    return lambda word: word.rstrip(_CLOSING).endswith(tuple(marks))


def _is_capital(word: str) -> bool:
    return next((letter.isupper() for letter in word if letter.isalpha()), False)


KINDS: Mapping[str, Callable[[str], bool]] = {
    "stop": _ends_in(".?!"),
    "comma": _ends_in(",;:"),
    "capital": _is_capital,
}

Marks = dict[str, MarkCount]


def count_marks(measure: str, text: str) -> Marks:
    """The marks of one utterance: `text` against `measure`."""
    wanted, given = ([word for word in one.split() if plain(word)] for one in (measure, text))
    counts = {kind: MarkCount() for kind in KINDS}
    if not wanted:
        return counts
    aligned = jiwer.process_words(" ".join(map(plain, wanted)), " ".join(map(plain, given)))
    for chunk in aligned.alignments[0]:
        if chunk.type != "equal":
            continue
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx):
            pair = (wanted[chunk.ref_start_idx + at], given[chunk.hyp_start_idx + at])
            for kind, has in KINDS.items():
                one, other = (int(has(word)) for word in pair)
                counts[kind] += MarkCount(one, other, one * other)
    return counts


def total_marks(counts: Iterable[Marks]) -> Marks:
    """The sum over utterances."""
    found = {kind: MarkCount() for kind in KINDS}
    for one in counts:
        found = {kind: found[kind] + one[kind] for kind in KINDS}
    return found
