"""One way to set the recogniser, and how late and how wrong its words are then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.accuracy_outcome import rate_figures
from benchmarks.emission import trace_emissions
from benchmarks.interim_errors import interim_errors, timed_tokens
from benchmarks.percentiles import percentiles
from benchmarks.speech_tars import ReferenceWord
from benchmarks.trace import Trace
from benchmarks.word_errors import WordErrors, count_errors
from benchmarks.word_match import match_words
from voicewire.asr.settings import StreamSettings


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the curve.

    Attributes:
        varied: what sets it apart: "sizes", "reluctance" or "beam".
        reluctance: what is taken from the logit of waiting (voicewire.asr.tokens).
    """

    varied: str
    settings: StreamSettings
    reluctance: float

    @property
    def sizes(self) -> str:
        return f"{self.settings.chunk_ms}:{self.settings.commit_ms}"

    @property
    def label(self) -> str:
        if self.varied == "sizes":
            return self.sizes
        return (
            f"{self.varied} {self.settings.beam if self.varied == 'beam' else format(self.reluctance, 'g')}"
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """One clip at one point.

    Attributes:
        interim_s, committed_s: delays of the words that were recognised, from their ends in the audio until they
            stood in the shown text for good, and until they were committed.
    """

    errors: WordErrors
    interim_errors: WordErrors
    interim_s: tuple[float, ...]
    committed_s: tuple[float, ...]

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
            "reluctance": point.reluctance,
            **rate_figures([clip.errors for clip in self.clips]),
            "interim": rate_figures([clip.interim_errors for clip in self.clips]),
            "delay_s": {
                "interim": percentiles([delay for clip in self.clips for delay in clip.interim_s]),
                "committed": percentiles([delay for clip in self.clips for delay in clip.committed_s]),
            },
        }
