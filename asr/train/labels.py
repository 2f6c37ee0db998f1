"""What the adapter learns to write: references in the spelling of Whisper, and when each token is due.

Corpora come in upper case, or without punctuation, and an adapter trained on them would write so. Where a
reference's words are also in Whisper's own transcript of the same audio, they are taken in Whisper's spelling;
so the words are the reference's, and capitals and stops are Whisper's.
"""

import difflib
import re
from dataclasses import dataclass

from whisper.tokenizer import Tokenizer

PUNCTUATION_S = 0.5  # a stop may come this long after its word, if no other word comes before
_UNWANTED = re.compile(r"[\"“”„«»()\[\]{}<>*_~…—–♪#]")  # noqa: RUF001 - what Whisper may not say in a stream
_SOUNDS = re.compile(r"[\w&%+=@$€£]")
_CLOSING = re.compile(r"[\s.,?!;:'\"\-)\]]+")
_SENTENCE_END = re.compile(r"[.?!][\"']?$")
_KEEPS_ITS_CAPITAL = {"i", "i'm", "i'll", "i've", "i'd"}


@dataclass(frozen=True, slots=True)
class WordTokens:
    """One word as tokens.

    Attributes:
        tokens: with the leading space.
        closing: how many of the last ones are punctuation.
    """

    tokens: list[int]
    closing: int


def spell(reference: list[str], heard: list[str]) -> tuple[list[str], list[bool]]:
    """The words of the reference, in Whisper's spelling where it heard the same words.

    Returns:
        the words, one for each of the reference, and for each whether Whisper heard it.
    """
    written = is_written(" ".join(reference))
    words = list(reference) if written else [_plain(word) for word in reference]
    known = [False] * len(words)
    matcher = difflib.SequenceMatcher(None, _keys(reference), _keys(heard), autojunk=False)
    for start, start_heard, length in matcher.get_matching_blocks():
        known[start : start + length] = [True] * length
        if not written:
            words[start : start + length] = heard[start_heard : start_heard + length]
    return words, known


def tidy(words: list[str], *, begins: bool = True) -> list[str]:
    """Words without what a stream may not say; sentences, and what `begins` one, with a capital.

    Returns:
        as many words; one that is punctuation alone becomes empty.
    """
    tidied: list[str] = []
    for word in words:
        clean = _UNWANTED.sub("", word).strip()
        if not _SOUNDS.search(clean):
            tidied.append("")
            continue
        if begins:
            clean = clean[:1].upper() + clean[1:]
        tidied.append(clean)
        begins = _SENTENCE_END.search(clean) is not None
    return tidied


def is_written(text: str) -> bool:
    """Whether a text has both cases and stops, as people write."""
    both = any(letter.islower() for letter in text) and any(letter.isupper() for letter in text)
    return both and re.search(r"[.,?!]", text) is not None


def tokenise(words: list[str], tokenizer: Tokenizer) -> list[WordTokens]:
    """Each word by itself, so that it is known which tokens are whose."""
    result = []
    for word in words:
        tokens = tokenizer.encode(f" {word}")
        closing = 0
        while closing < len(tokens) - 1 and _CLOSING.fullmatch(tokenizer.decode([tokens[-1 - closing]])):
            closing += 1
        result.append(WordTokens(tokens, closing))
    return result


def due_times(words: list[WordTokens], times: list[tuple[float, float]]) -> list[float]:
    """When each token is due, in seconds: a word's tokens at the word's end, its stops a little later.

    Args:
        words: of one utterance.
        times: start and end of each token of theirs, in order.
    """
    due: list[float] = []
    for word in words:
        spans = times[len(due) : len(due) + len(word.tokens)]
        body = spans[: len(spans) - word.closing]
        end = max(stop for _, stop in body)
        due += [end] * len(body) + [end + PUNCTUATION_S] * word.closing
    return in_order(due)


def word_begins(words: list[WordTokens], times: list[tuple[float, float]]) -> list[float]:
    """When each token's word begins, in seconds; arguments as in `due_times`."""
    begins: list[float] = []
    for word in words:
        begins += [times[len(begins)][0]] * len(word.tokens)
    return begins


def in_order(due: list[float]) -> list[float]:
    """Due times that nothing which comes later precedes: a stop is due with the next word at the latest."""
    ordered: list[float] = []
    latest = float("inf")
    for time in reversed(due):
        latest = min(latest, time)
        ordered.append(latest)
    return ordered[::-1]


def _plain(word: str) -> str:
    lower = word.lower()
    return lower.capitalize() if lower in _KEEPS_ITS_CAPITAL else lower


def _keys(words: list[str]) -> list[str]:
    return [re.sub(r"[^\w']", "", word.lower().replace("’", "'")) for word in words]  # noqa: RUF001
