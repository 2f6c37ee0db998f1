"""Tokens with times, and the words that they make."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voicewire.asr.alignment import Floats, token_times
from voicewire.asr.events import Word
from voicewire.asr.loudness import Loudness
from voicewire.asr.tokens import UNFINISHED, Vocabulary


@dataclass(frozen=True, slots=True)
class SpokenToken:
    """A token and where it lies in the audio, in seconds on the session's clock."""

    token: int
    probability: float
    start_s: float
    end_s: float


def time_tokens(
    tokens: Sequence[int],
    probabilities: Sequence[float],
    attention: Floats,
    *,
    origin_s: float,
    from_s: float,
) -> list[SpokenToken]:
    """Gives tokens their times.

    Args:
        attention: shape = (tokens + 1, frames): see greedy.Decoded.
        origin_s: the time of the first frame.
        from_s: nothing lies before it: the end of what was said before.
    """
    if not tokens:
        return []
    spans = token_times(attention, max(0.0, from_s - origin_s))
    return [
        SpokenToken(token, probability, origin_s + start, origin_s + end)
        for token, probability, (start, end) in zip(tokens, probabilities, spans, strict=True)
    ]


def finished(vocabulary: Vocabulary, tokens: Sequence[SpokenToken]) -> int:
    """How many of the tokens can be shown: a character may have been cut in two at the end."""
    for count in range(len(tokens), max(-1, len(tokens) - 4), -1):
        if not vocabulary.text([spoken.token for spoken in tokens[:count]]).endswith(UNFINISHED):
            return count
    return len(tokens)


def make_words(
    vocabulary: Vocabulary, tokens: Sequence[SpokenToken], loudness: Loudness, emitted_s: float
) -> tuple[Word, ...]:
    """Groups tokens into words; a word's times are those of its letters, not of its punctuation."""
    words, at = [], 0
    for group in vocabulary.groups([spoken.token for spoken in tokens]):
        members = tokens[at : at + len(group)]
        at += len(group)
        voiced = [spoken for spoken in members if is_voiced(vocabulary.text([spoken.token]))] or members
        start_s, end_s = voiced[0].start_s, voiced[-1].end_s
        probability = math.exp(
            float(np.mean([math.log(max(spoken.probability, 1e-9)) for spoken in members]))
        )
        words.append(
            Word(
                text=vocabulary.text(group),
                start_s=round(loudness.onset(start_s, end_s), 3),
                end_s=round(end_s, 3),
                probability=round(probability, 4),
                emitted_s=round(emitted_s, 3),
            )
        )
    return tuple(words)


def is_voiced(text: str) -> bool:
    """Whether the text has anything but punctuation."""
    return any(character.isalnum() for character in text)
