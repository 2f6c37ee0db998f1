"""Word errors of the text that a reader sees while somebody speaks, each word judged a moment after it ended.

A reference word that ends at t is looked up in what is shown, committed words and tail, at t + `patience_s`. The
alignment of that text with the reference, as far as the reference had begun by then, says whether the word is
right, wrong or not there. So every word is judged once, on the audio's own clock, and one that comes later or is
put right later is an error all the same. Words that nobody said count as many as ever stood before the word that
was judged at the time. The clip ends with a flush: words that are due behind its end are judged by what that left.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache

import jiwer

from benchmarks.speech_tars import ReferenceWord
from benchmarks.trace import Trace, joined
from benchmarks.word_errors import WordErrors, normalise

PATIENCE_S = 0.6


@dataclass(frozen=True, slots=True)
class TimedToken:
    """A word of the normalised reference; it has the times of the words that it was made from."""

    text: str
    start_s: float
    end_s: float


def timed_tokens(words: Sequence[ReferenceWord]) -> list[TimedToken]:
    """The reference as Whisper's normaliser writes it, with times: it joins, parts and drops words."""
    tokens = normalise(" ".join(word.text for word in words)).split()
    timed: list[TimedToken] = []
    matcher = SequenceMatcher(None, [normalise(word.text) for word in words], tokens, autojunk=False)
    for tag, first, last, start, end in matcher.get_opcodes():
        for at in range(start, end):
            said = words[first + at - start : first + at - start + 1] if tag == "equal" else words[first:last]
            said = said or words[max(first - 1, 0) : first + 1]
            timed.append(TimedToken(tokens[at], said[0].start_s, said[-1].end_s))
    return timed


def interim_errors(
    reference: Sequence[TimedToken], trace: Trace, patience_s: float = PATIENCE_S
) -> WordErrors:
    """Errors of one utterance; `reference` and the trace's looks are on one clock."""
    texts = [token.text for token in reference]
    aligned = cache(_align)
    found: Counter[str] = Counter()
    extra = 0
    for at, token in enumerate(reference):
        time_s = token.end_s + patience_s
        begun = max(at + 1, sum(other.start_s < time_s for other in reference))
        outcome = aligned(tuple(texts[:begun]), normalise(joined(trace.shown_at(time_s))))
        found[outcome.words[at]] += 1
        # An extra word may stand before or behind a wrong one with the same right, so they are counted together.
        extra = max(extra, outcome.extra_before(at))
    final = aligned(tuple(texts), normalise(trace.text))
    extra = max(extra, final.extra_before(len(texts)))
    return WordErrors(len(texts), found["substitute"], found["delete"], extra)


@dataclass(frozen=True, slots=True)
class _Alignment:
    """What became of each reference word, and where words stand that are too many: before which one, how many."""

    words: tuple[str, ...]
    extra: tuple[tuple[int, int], ...]

    def extra_before(self, place: int) -> int:
        return sum(count for at, count in self.extra if at <= place)


def _align(reference: tuple[str, ...], shown: str) -> _Alignment:
    if not reference:
        return _Alignment((), ((0, len(shown.split())),))
    words: list[str] = []
    extra: list[tuple[int, int]] = []
    for chunk in jiwer.process_words(" ".join(reference), shown).alignments[0]:
        if chunk.type == "insert":
            extra.append((chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx))
        else:
            words += [chunk.type] * (chunk.ref_end_idx - chunk.ref_start_idx)
    return _Alignment(tuple(words), tuple(extra))
