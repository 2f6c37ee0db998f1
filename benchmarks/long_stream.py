"""Clips joined to one long stream, and what such a stream costs from piece to piece."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from benchmarks.speech_tars import SAMPLE_RATE, Clip
from voicewire.asr.events import Transcript, Word
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

PAUSE_S = (0.3, 1.5)
PIECE_S = 0.1
PIECE_SAMPLES = int(PIECE_S * SAMPLE_RATE)
MINUTE_PIECES = round(60 / PIECE_S)


@dataclass(frozen=True, slots=True, eq=False)
class LongStream:
    """Several clips, each followed by a pause that belongs to it.

    Attributes:
        pieces: as many arrays as clips, float32 of shape (samples,), mono, 16 kHz.
    """

    clips: tuple[Clip, ...]
    pieces: tuple[np.ndarray, ...]

    @property
    def text(self) -> str:
        return " ".join(clip.text for clip in self.clips)

    @property
    def seconds(self) -> float:
        return sum(map(len, self.pieces)) / SAMPLE_RATE

    def lead(self, seconds: float) -> int:
        """How many clips from the start last at least so long."""
        ends = np.cumsum([len(piece) for piece in self.pieces]) / SAMPLE_RATE
        return int(np.searchsorted(ends, seconds)) + 1

    def swapped(self, seconds: float = 60.0) -> "LongStream":
        """The same clips with the first and the last minute exchanged."""
        first, last = self.lead(seconds), self._reversed().lead(seconds)
        if first + last > len(self.clips):
            raise ValueError(f"a stream of {self.seconds:.0f} s has no first and last {seconds:.0f} s apart")
        order = [*range(len(self.clips))]
        order = order[-last:] + order[first:-last] + order[:first]
        return LongStream(tuple(self.clips[at] for at in order), tuple(self.pieces[at] for at in order))

    def ends_s(self, seconds: float = 60.0) -> tuple[float, float]:
        """Where the first clips of at least so many seconds end, and where the last such begin."""
        first, last = self.lead(seconds), self._reversed().lead(seconds)
        samples = [len(piece) for piece in self.pieces]
        return sum(samples[:first]) / SAMPLE_RATE, sum(samples[:-last]) / SAMPLE_RATE

    def _reversed(self) -> "LongStream":
        return LongStream(self.clips[::-1], self.pieces[::-1])


def long_streams(clips: Iterable[Clip], minutes: float) -> Iterator[LongStream]:
    """Joins clips, in their order, to streams of at least so many minutes; a rest that is shorter is dropped."""
    random = np.random.default_rng(0)
    taken: list[Clip] = []
    pieces: list[np.ndarray] = []
    for clip in clips:
        pause = np.zeros(int(random.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32)
        taken.append(clip)
        pieces.append(np.concatenate([clip.samples, pause]))
        if sum(map(len, pieces)) >= minutes * 60 * SAMPLE_RATE:
            yield LongStream(tuple(taken), tuple(pieces))
            taken, pieces = [], []


@dataclass(slots=True)
class LongRun:
    """What a long stream brought, and its cost in pieces of PIECE_S of audio.

    Attributes:
        cpu_s: processor time of each piece; other programs beside hardly change it.
        resident: bytes of this process at the end of each minute.
    """

    words: list[Word] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)

    def cost(self, start_s: float, end_s: float) -> float:
        """Processor seconds per second of audio between two moments of the stream."""
        pieces = self.cpu_s[round(start_s / PIECE_S) : round(end_s / PIECE_S)]
        return sum(pieces) / (len(pieces) * PIECE_S)

    def cost_by_minute(self) -> list[float]:
        return [self.cost(60 * at, 60 * (at + 1)) for at in range(len(self.cpu_s) // MINUTE_PIECES)]


def run_long(
    transcriber: BatchTranscriber, settings: StreamSettings, stream: LongStream
) -> Iterator[LongRun]:
    """One stream alone, as fast as it goes; gives the run so far after every second of audio, and at its end."""
    run = LongRun()
    process = psutil.Process()
    samples = np.concatenate(stream.pieces)
    slot = transcriber.open(settings)
    for start in range(0, len(samples), PIECE_SAMPLES):
        transcriber.push(slot, samples[start : start + PIECE_SAMPLES])
        if start + PIECE_SAMPLES >= len(samples):
            transcriber.flush(slot)
        began = time.process_time()
        run.words += _committed(transcriber, slot)
        run.cpu_s.append(time.process_time() - began)
        if len(run.cpu_s) % MINUTE_PIECES == 0:
            run.resident.append(process.memory_info().rss)
        if len(run.cpu_s) % 10 == 0:
            yield run
    transcriber.close(slot)
    yield run


def compare_ends(straight: LongRun, swapped: LongRun, stream: LongStream) -> float:
    """Cost of a stream's end over that of its start, the same clips at both places, as a ratio.

    Minutes differ in how much is said; so the stream is run a second time with its first and last minute
    exchanged, and what stands above is summed over both runs.
    """
    first_end, last_start = stream.ends_s()
    turned_first_end, turned_last_start = stream.swapped().ends_s()
    at_start = straight.cost(0, first_end) + swapped.cost(0, turned_first_end)
    at_end = straight.cost(last_start, stream.seconds) + swapped.cost(turned_last_start, stream.seconds)
    return at_end / at_start


def _committed(transcriber: BatchTranscriber, slot: int) -> Sequence[Word]:
    words: list[Word] = []
    while stepped := transcriber.step():
        for event in stepped.get(slot, []):
            if isinstance(event, Transcript):
                words += event.words
    return words
