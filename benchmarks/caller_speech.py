"""What each client of a server says: clips of real speech in an order of its own."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.long_stream import LongStream
from benchmarks.reference_times import ReferenceTimes
from benchmarks.speech_tars import SAMPLE_RATE, ReferenceWord, SpeechTar
from benchmarks.transcript_cache import TranscriptCache

_SPEECH_S = 90.0  # of its own for each client, said again when it is over


def speeches(paths: Sequence[Path], count: int) -> list[LongStream]:
    """For so many clients, without a pause between the clips of these tars."""
    clips = [clip for path in paths for clip in SpeechTar(path).clips(None)]
    made = []
    for number in range(count):
        total, chosen = 0, []
        for index in np.random.default_rng(number).permutation(len(clips)):
            chosen.append(clips[index])
            total += len(clips[index].samples)
            if total >= _SPEECH_S * SAMPLE_RATE:
                break
        made.append(LongStream(tuple(chosen), tuple(clip.samples for clip in chosen)))
    return made


def as_pcm(stream: LongStream) -> np.ndarray:
    """The samples as int16, of shape (samples,)."""
    return (np.concatenate(stream.pieces) * 32_767).astype(np.int16)


def references(
    streams: Sequence[LongStream], paths: Sequence[Path], seconds: float, cache: Path
) -> list[list[ReferenceWord]]:
    """The words that each client says within so many seconds, and their times; what had to be aligned is kept."""
    tars = [SpeechTar(path) for path in paths]
    times = ReferenceTimes(TranscriptCache(cache))
    found = []
    for stream in streams:
        words = times.along(stream, tars)
        begins = [again * stream.seconds for again in range(math.ceil(seconds / stream.seconds))]
        found.append(
            [ReferenceWord(word.text, at + word.start_s, at + word.end_s) for at in begins for word in words]
        )
    return found
