"""When each word of a reference was spoken: as the set has it, else by forced alignment, which is kept."""

import json
from collections.abc import Sequence
from dataclasses import astuple

from benchmarks.forced_alignment import ForcedAligner
from benchmarks.long_stream import LongStream
from benchmarks.speech_tars import SAMPLE_RATE, ReferenceWord, SpeechTar
from benchmarks.transcript_cache import TranscriptCache, TranscriptKey, fingerprint
from benchmarks.word_match import plain


class ReferenceTimes:
    """Finds or makes them; the aligner is loaded only where a clip needs it."""

    def __init__(self, cache: TranscriptCache, model: str = "base") -> None:
        self._cache = cache
        self._model = model
        self._aligner: ForcedAligner | None = None

    def words(self, tar: SpeechTar, clip: str) -> tuple[ReferenceWord, ...]:
        """The words of the clip's reference text, in order. Raises KeyError."""
        text, _ = tar.reference(clip)
        known = tar.words(clip)
        # Some sets' times are of slightly other words than their references.
        if [plain(word.text) for word in known] == [plain(word) for word in text.split()]:
            return known
        key = TranscriptKey(fingerprint("alignment", self._model), "alignment", tar.name, clip)
        kept = self._cache.get(key)
        if kept is not None:
            return tuple(ReferenceWord(*row) for row in json.loads(kept))
        self._aligner = self._aligner or ForcedAligner(self._model)
        words = self._aligner.align(tar.read(clip).samples, text)
        self._cache.add(key, json.dumps([astuple(word) for word in words]))
        return words

    def along(self, stream: LongStream, tars: Sequence[SpeechTar]) -> list[ReferenceWord]:
        """The words of a stream, whose clips are of these tars, with their times on its own clock."""
        words, start_s = [], 0.0
        for clip, piece in zip(stream.clips, stream.pieces, strict=True):
            tar = next(tar for tar in tars if tar.name == clip.tar)
            words += [
                ReferenceWord(word.text, word.start_s + start_s, word.end_s + start_s)
                for word in self.words(tar, clip.key)
            ]
            start_s += len(piece) / SAMPLE_RATE
        return words
