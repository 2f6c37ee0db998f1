"""What came out of a channel, clip by clip, and the figures made of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.accuracy_outcome import difference_figures, rate_figures
from benchmarks.mean_interval import mean_difference, mean_interval
from benchmarks.word_errors import WordErrors


@dataclass(frozen=True, slots=True)
class ClipOutcome:
    """One clip as it was heard.

    Attributes:
        bits: how many crossed the channel; None where nothing was coded.
        scores: by the name of the metric, more is better.
        errors: of what Whisper understood; None where it did not listen.
    """

    key: str
    seconds: float
    bits: int | None
    scores: Mapping[str, float]
    errors: WordErrors | None

    def as_json(self) -> dict[str, Any]:
        errors = asdict(self.errors) if self.errors else {}
        return {
            "key": self.key,
            "seconds": round(self.seconds, 3),
            "bits": self.bits,
            **self.scores,
            **errors,
        }


@dataclass(frozen=True, slots=True)
class ChannelOutcome:
    """All clips of a set through one channel, in the set's order.

    Attributes:
        name: of the codec.
        kbps: the bitrate that was asked for; None where nothing was coded.
    """

    name: str
    kbps: float | None
    clips: tuple[ClipOutcome, ...]

    def __str__(self) -> str:
        return self.name if self.kbps is None else f"{self.name} {self.kbps:g}"

    @property
    def real_kbps(self) -> float | None:
        """What crossed the channel over how long it lasted, without any container."""
        bits = [clip.bits for clip in self.clips if clip.bits is not None]
        return sum(bits) / sum(clip.seconds for clip in self.clips) / 1000 if bits else None

    def figures(self) -> dict[str, Any]:
        """The figures as they stand in the JSON."""
        scores = {name: asdict(mean_interval(self.scores(name))) for name in self.clips[0].scores}
        figures: dict[str, Any] = {"channel": self.name, "kbps": self.kbps, "real_kbps": self.real_kbps}
        figures |= {"clips": len(self.clips), "scores": scores}
        if errors := self.errors:
            figures["word_errors"] = rate_figures(errors)
        return figures

    def against(self, base: "ChannelOutcome") -> dict[str, Any]:
        """Differences to `base`, the same clips through another channel."""
        scores = {
            name: asdict(mean_difference(self.scores(name), base.scores(name)))
            for name in self.clips[0].scores
        }
        figures: dict[str, Any] = {"channel": str(base), "scores": scores}
        if errors := self.errors:
            figures["word_errors"] = difference_figures(errors, base.errors)
        return figures

    def scores(self, metric: str) -> list[float]:
        return [clip.scores[metric] for clip in self.clips]

    @property
    def errors(self) -> list[WordErrors]:
        """Of the clips that Whisper listened to."""
        return [clip.errors for clip in self.clips if clip.errors]


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """All channels on one set; the first carries the original."""

    name: str
    channels: tuple[ChannelOutcome, ...]

    @property
    def original(self) -> ChannelOutcome:
        return self.channels[0]

    @property
    def baseline(self) -> ChannelOutcome | None:
        """Opus at the lowest of its bitrates; None where none was asked for."""
        return next((one for one in self.channels if one.name == "Opus"), None)

    @property
    def codecs(self) -> list[ChannelOutcome]:
        return [one for one in self.channels if one.name not in (self.original.name, "Opus")]

    def as_json(self) -> list[dict[str, Any]]:
        rows = []
        for one in self.channels:
            row = one.figures() | {"against_original": one.against(self.original)}
            if self.baseline:
                row["against_baseline"] = one.against(self.baseline)
            rows.append(row | {"each": [clip.as_json() for clip in one.clips]})
        return rows
