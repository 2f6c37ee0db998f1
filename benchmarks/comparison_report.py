"""What a comparison found of each recogniser: figures, and rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy_outcome import difference_figures, rate_figures
from benchmarks.paced_playing import Played
from benchmarks.percentiles import percentiles
from benchmarks.speech_tars import ReferenceWord
from benchmarks.word_errors import WordErrors, count_errors
from benchmarks.word_match import match_words

HEADINGS = (
    "recogniser",
    "arithmetic",
    "WER %",
    "95 %",
    "against the first",
    "committed after, median s",
    "P95 s",
    "computing, s per s",
    "behind at most, s",
)


@dataclass(frozen=True, slots=True)
class Contender:
    """All streams through one recogniser.

    Attributes:
        name, arithmetic: what it is and what it computes in.
        texts: the references.
        references: the references' words with their times in the streams.
        played: what came.
    """

    name: str
    arithmetic: str
    texts: Sequence[str]
    references: Sequence[Sequence[ReferenceWord]]
    played: Sequence[Played]

    @property
    def errors(self) -> list[WordErrors]:
        return [count_errors(text, one.text) for text, one in zip(self.texts, self.played, strict=True)]

    def delays(self) -> list[float]:
        """Seconds from the end of each recognised word in the audio until it was committed."""
        return [
            one.committed_s[at] - word.end_s
            for reference, one in zip(self.references, self.played, strict=True)
            for word, at in match_words(reference, one.words)
        ]

    def figures(self, first: "Contender") -> dict[str, Any]:
        """As they stand in the JSON; `first` is what its errors are compared with."""
        audio_s = sum(one.audio_s for one in self.played)
        return {
            "recogniser": self.name,
            "arithmetic": self.arithmetic,
            **rate_figures(self.errors),
            **(difference_figures(self.errors, first.errors) if first is not self else {}),
            "committed_delay_s": percentiles(self.delays()),
            "compute_s_per_audio_s": sum(one.cpu_s for one in self.played) / audio_s,
            "behind_s": max(one.behind_s for one in self.played),
            "streams": len(self.played),
            "minutes": round(audio_s / 60, 2),
        }


def rows(figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One for each contender."""
    return [_row(one) for one in figures]


def print_comparison(console: Console, figures: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="The same speech, weights and number of threads")
    for at, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if at > 1 else "left")
    for row in rows(figures):
        table.add_row(*row)
    console.print(table)


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    def percent(name: str, style: str = ".1f") -> str:
        return format(100 * found[name], style)

    against = ""
    if "difference" in found:
        span = f"{percent('difference_low', '+.1f')} to {percent('difference_high', '+.1f')}"
        against = f"{percent('difference', '+.1f')} ({span})"
    delay = found["committed_delay_s"]
    return (
        found["recogniser"],
        found["arithmetic"],
        percent("wer"),
        f"{percent('wer_low')} to {percent('wer_high')}",
        against,
        *("-" if delay[name] is None else f"{delay[name]:.2f}" for name in ("median", "p95")),
        f"{found['compute_s_per_audio_s']:.3f}",
        f"{found['behind_s']:.2f}",
    )
