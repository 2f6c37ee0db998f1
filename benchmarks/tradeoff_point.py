"""One way to set the recogniser, and how late and how wrong its words are then."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from benchmarks.accuracy_outcome import rate_figures
from benchmarks.emission import trace_emissions
from benchmarks.interim_errors import interim_errors, timed_tokens
from benchmarks.percentiles import percentiles
from benchmarks.speech_tars import ReferenceWord
from benchmarks.stability import Stability, stability
from benchmarks.trace import Trace
from benchmarks.word_errors import WordErrors, count_errors
from benchmarks.word_match import match_words
from voicewire.asr import stream, tokens, window
from voicewire.asr.settings import FRAME_S, StreamSettings

# Constants of the recogniser, by what they are called here: the module, the name there, a unit's worth of it.
CONSTANTS = {
    "reluctance": (tokens, "RELUCTANCE", 1.0),
    "haste": (stream, "TAIL_HASTE", 1.0),
    "passes": (stream, "TAIL_PASSES", 1.0),
    "window": (window, "LEAVE_FROM", 1 / FRAME_S),
}


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the curve.

    Attributes:
        varied: what sets it apart: "sizes", "beam", or one of CONSTANTS.
        value: what that constant is here; None where it is another thing that is varied.
    """

    varied: str
    settings: StreamSettings
    value: float | None = None

    @property
    def sizes(self) -> str:
        return f"{self.settings.chunk_ms}:{self.settings.commit_ms}"

    @property
    def label(self) -> str:
        if self.varied == "sizes":
            return self.sizes
        return f"{self.varied} {self.settings.beam if self.value is None else format(self.value, 'g')}"

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The constant has this value in the block, for models that are loaded and for streams that are opened."""
        if self.value is None:
            yield
            return
        module, name, unit = CONSTANTS[self.varied]
        with mock.patch.object(module, name, type(getattr(module, name))(self.value * unit)):
            yield


@dataclass(frozen=True, slots=True)
class Judged:
    """One clip at one point.

    Attributes:
        interim_s, committed_s: delays of the words that were recognised, from their ends in the audio until they
            stood in the shown text for good, and until they were committed.
        stability: of the tail.
    """

    errors: WordErrors
    interim_errors: WordErrors
    interim_s: tuple[float, ...]
    committed_s: tuple[float, ...]
    stability: Stability

    @classmethod
    def of(cls, text: str, reference: Sequence[ReferenceWord], trace: Trace) -> "Judged":
        """`text` is the reference; its words' times are on the trace's clock."""
        emissions = trace_emissions(trace)
        pairs = match_words(reference, [one.word for one in emissions])
        return cls(
            count_errors(text, trace.text),
            interim_errors(timed_tokens(reference), trace),
            tuple(emissions[at].interim_s - word.end_s for word, at in pairs),
            tuple(emissions[at].committed_s - word.end_s for word, at in pairs),
            stability(trace),
        )


@dataclass(frozen=True, slots=True)
class PointOutcome:
    """All clips at one point."""

    point: Point
    clips: tuple[Judged, ...]

    def figures(self) -> dict[str, Any]:
        point = self.point
        return {
            "label": point.label,
            "varied": point.varied,
            "chunk_ms": point.settings.chunk_ms,
            "commit_ms": point.settings.commit_ms,
            "beam": point.settings.beam,
            "value": point.value,
            **rate_figures([clip.errors for clip in self.clips]),
            "interim": rate_figures([clip.interim_errors for clip in self.clips]),
            "revoked_share": sum((clip.stability for clip in self.clips), Stability()).share,
            "delay_s": {
                "interim": percentiles([delay for clip in self.clips for delay in clip.interim_s]),
                "committed": percentiles([delay for clip in self.clips for delay in clip.committed_s]),
            },
        }
