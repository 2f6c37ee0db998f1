"""Which recognised word is which word of a reference with known times."""

import re
from collections.abc import Sequence

import jiwer

from benchmarks.speech_tars import ReferenceWord
from voicewire.asr.events import Word

_NOT_SPOKEN = re.compile(r"[^\w']+")


def plain(text: str) -> str:
    """A word without case, punctuation and space; empty for a mark that stands alone."""
    return _NOT_SPOKEN.sub("", text.lower()).strip("'_")


def match_words(reference: Sequence[ReferenceWord], words: Sequence[Word]) -> list[tuple[ReferenceWord, int]]:
    """Pairs of a reference word and the place in `words` of the same word, by the alignment with fewest errors."""
    spoken = [(plain(word.text), word) for word in reference if plain(word.text)]
    heard = [(plain(word.text), at) for at, word in enumerate(words) if plain(word.text)]
    aligned = jiwer.process_words(" ".join(text for text, _ in spoken), " ".join(text for text, _ in heard))
    return [
        (spoken[chunk.ref_start_idx + at][1], heard[chunk.hyp_start_idx + at][1])
        for chunk in aligned.alignments[0]
        if chunk.type == "equal"
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
