"""What an accuracy run found on one set with one recogniser, clip by clip, and the figures made of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.marks import Marks, total_marks
from benchmarks.stability import Stability
from benchmarks.word_errors import Interval, WordErrors, difference_interval, rate_interval, total
from voicewire.asr.settings import StreamSettings


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip's transcript and what is wrong with it.

    Attributes:
        interim: errors of what was shown a moment after each word; None where nothing is shown early.
        stability: of the tail; None likewise.
        marks: against unmodified Whisper's transcript; None for that itself.
    """

    key: str
    minutes: float
    reference: str
    hypothesis: str
    errors: WordErrors
    interim: WordErrors | None = None
    stability: Stability | None = None
    marks: Marks | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recogniser's transcripts of one set; `settings` is None for the offline one."""

    settings: StreamSettings | None
    utterances: tuple[Utterance, ...]

    @property
    def name(self) -> str:
        return f"{self.settings.chunk_ms}:{self.settings.commit_ms}" if self.settings else "offline"

    @property
    def errors(self) -> list[WordErrors]:
        return [utterance.errors for utterance in self.utterances]

    def figures(self, base: "Outcome | None" = None) -> dict[str, Any]:
        """The figures as they stand in the JSON; with `base`, the difference to it too."""
        minutes = sum(utterance.minutes for utterance in self.utterances)
        figures: dict[str, Any] = {}
        if self.settings:
            figures |= {"chunk_ms": self.settings.chunk_ms, "commit_ms": self.settings.commit_ms}
        figures |= rate_figures(self.errors)
        figures |= {"utterances": len(self.utterances), "minutes": round(minutes, 2)}
        figures["insertions_per_minute"] = figures["insertions"] / minutes if minutes else None
        if base:
            figures |= difference_figures(self.errors, base.errors)
        return figures | self._shown_figures()

    def worst(self, count: int) -> list[Utterance]:
        return sorted(self.utterances, key=lambda one: -one.errors.errors)[:count]

    def _shown_figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        interim = [one.interim for one in self.utterances if one.interim]
        if interim:
            figures["interim"] = rate_figures(interim)
            figures["interim"] |= difference_figures(interim, self.errors)
        seen = sum((one.stability for one in self.utterances if one.stability), Stability())
        if self.settings:
            figures["tail"] = asdict(seen) | {"share": seen.share}
        marks = [one.marks for one in self.utterances if one.marks]
        if marks:
            figures["marks"] = {
                kind: asdict(count) | {"precision": count.precision, "recall": count.recall, "f1": count.f1}
                for kind, count in total_marks(marks).items()
            }
        return figures


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """All that was measured on one tar."""

    name: str
    offline: Outcome
    streaming: tuple[Outcome, ...]


def rate_figures(errors: Sequence[WordErrors]) -> dict[str, Any]:
    """Word error rate with its interval, and the errors apart."""
    everything = total(errors)
    return {"wer": everything.rate} | _bounds("wer", rate_interval(errors)) | asdict(everything)


def difference_figures(errors: Sequence[WordErrors], base: Sequence[WordErrors]) -> dict[str, Any]:
    """Word error rate over that of `base`, the same utterances, with its interval; {} where there are no words."""
    rate = total(errors).rate
    if rate is None:
        return {}
    bounds = _bounds("difference", difference_interval(errors, base))
    return {"difference": rate - (total(base).rate or 0.0)} | bounds


def _bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
