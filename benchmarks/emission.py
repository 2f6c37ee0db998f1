"""When each word was first seen for good, and when it was committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from benchmarks.trace import Trace
from benchmarks.word_match import plain
from voicewire.asr.events import Word


@dataclass(frozen=True, slots=True)
class Emission:
    """A committed word and the moments it appeared.

    Attributes:
        interim_s: since then it stood in the text that a reader sees, committed or tail, without a break.
        committed_s: when it was committed; never before `interim_s`.
    """

    word: Word
    interim_s: float
    committed_s: float


@dataclass(frozen=True, slots=True)
class _Sight:
    time_s: float
    committed: int
    tail: tuple[str, ...]


@dataclass(slots=True)
class EmissionLog:
    """Takes the news of one stream in order; times are on whatever clock the caller reads."""

    _words: list[Word] = field(default_factory=list)
    _committed_s: list[float] = field(default_factory=list)
    _sights: list[_Sight] = field(default_factory=list)

    def see(self, time_s: float, words: Sequence[Word], tail: Sequence[Word]) -> None:
        """What one transcript event brought at `time_s`."""
        self._words += words
        self._committed_s += [time_s] * len(words)
        self._sights.append(_Sight(time_s, len(self._words), tuple(plain(word.text) for word in tail)))

    def emissions(self) -> list[Emission]:
        """One for each committed word, in order."""
        since = list(self._committed_s)
        final = [plain(word.text) for word in self._words]
        standing = set(range(len(final)))
        for sight in reversed(self._sights):
            standing &= set(range(sight.committed)) | _found(sight, final)
            for at in standing:
                since[at] = min(since[at], sight.time_s)
        return [
            Emission(word, interim_s, committed_s)
            for word, interim_s, committed_s in zip(self._words, since, self._committed_s, strict=True)
        ]


def trace_emissions(trace: Trace) -> list[Emission]:
    """The same of a stream that is over, on the audio's own clock."""
    log, before = EmissionLog(), 0
    for look in trace.looks:
        log.see(look.time_s, trace.words[before : look.committed], look.tail)
        before = look.committed
    return log.emissions()


def _found(sight: _Sight, final: Sequence[str]) -> set[int]:
    """Which of the final words the tail shows."""
    rest = final[sight.committed :]
    matcher = SequenceMatcher(None, sight.tail, rest, autojunk=False)
    return {
        sight.committed + block.b + at for block in matcher.get_matching_blocks() for at in range(block.size)
    }
