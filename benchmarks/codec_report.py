"""What a run of the codecs found, as tables in the terminal and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.codec_outcome import ChannelOutcome, SetOutcome
from benchmarks.machine import Machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.speech_quality import METRICS

_LEFT = ("set", "channel")


@dataclass(frozen=True, slots=True)
class CodecReport:
    """A whole run.

    Attributes:
        metrics: the names in METRICS that scored, in the order of their columns.
        run: what stands beside the figures: versions, limit.
        left_out: codecs and metrics that could not take part, and why.
    """

    sets: Sequence[SetOutcome]
    metrics: Sequence[str]
    machine: Machine
    run: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"sets": {one.name: one.as_json() for one in self.sets}, "left_out": self.left_out}

    def print(self, console: Console) -> None:
        for title, headings, rows in self._tables():
            table = Table(title=title)
            for heading in headings:
                table.add_column(heading, justify="left" if heading in _LEFT else "right", no_wrap=True)
            for row in rows:
                table.add_row(*row)
            console.print(table)

    def write_markdown(self, path: Path, section: str) -> None:
        """Replaces that section of `path`; appends it to a file that lacks it."""
        tables = [
            f"{title}:\n\n{markdown_table(headings, rows, left=2)}\n"
            for title, headings, rows in self._tables()
            if rows
        ]
        run = ", ".join(f"{name} {value}" for name, value in self.run.items() if value is not None)
        # Not why: the reasons name folders of this machine.
        absent = f"Left out: {', '.join(self.left_out)}.\n" if self.left_out else ""
        replace_section(path, section, "".join(tables) + f"Run with {run}.\n{absent}{self.machine}\n")

    def _tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        labels = tuple(METRICS[name].label for name in self.metrics)
        scores = (*_LEFT, "kbps", *labels, "WER %", "WER over the original's", "words", "clips")
        differences = (*_LEFT, "less kbps", *labels, "WER %")
        return [
            ("Scores, with half the width of their 95 % intervals", scores, self._score_rows()),
            (
                f"Differences to {self._baseline_name()}, with 95 % intervals",
                differences,
                self._difference_rows(),
            ),
        ]

    def _baseline_name(self) -> str:
        return next((str(one.baseline) for one in self.sets if one.baseline), "Opus")

    def _score_rows(self) -> list[tuple[str, ...]]:
        return [
            (one.name if at == 0 else "", *self._score_row(channel, one.original))
            for one in self.sets
            for at, channel in enumerate(one.channels)
        ]

    def _score_row(self, channel: ChannelOutcome, original: ChannelOutcome) -> tuple[str, ...]:
        figures = channel.figures()
        scores = (_score(figures["scores"][name], METRICS[name].digits) for name in self.metrics)
        errors, cost = figures.get("word_errors"), ""
        if errors and channel is not original:
            cost = _span(channel.against(original)["word_errors"], "difference")
        rate = f"{_percent(errors['wer'])} ({_percents(errors, 'wer')})" if errors else "-"
        counts = (str(errors["words"]) if errors else "-", str(len(channel.clips)))
        return str(channel), _kbps(channel.real_kbps), *scores, rate, cost, *counts

    def _difference_rows(self) -> list[tuple[str, ...]]:
        rows = []
        for one in self.sets:
            for at, channel in enumerate(one.codecs if one.baseline else []):
                assert one.baseline
                against = channel.against(one.baseline)
                scores = (_difference(against["scores"][name], METRICS[name].digits) for name in self.metrics)
                less = _kbps((one.baseline.real_kbps or 0) - (channel.real_kbps or 0))
                errors = _span(against["word_errors"], "difference") if "word_errors" in against else "-"
                rows.append((one.name if at == 0 else "", str(channel), less, *scores, errors))
        return rows


def _score(mean: dict[str, float], digits: int) -> str:
    return f"{mean['mean']:.{digits}f} ±{(mean['high'] - mean['low']) / 2:.{digits}f}"


def _difference(mean: dict[str, float], digits: int) -> str:
    return f"{mean['mean']:+.{digits}f} ({mean['low']:+.{digits}f} to {mean['high']:+.{digits}f})"


def _span(figures: dict[str, Any], name: str) -> str:
    """In percent, with a sign; nothing where there are no words."""
    return f"{_percent(figures[name], '+.1f')} ({_percents(figures, name, '+.1f')})" if figures else "-"


def _percents(figures: dict[str, Any], name: str, style: str = ".1f") -> str:
    return f"{_percent(figures[f'{name}_low'], style)} to {_percent(figures[f'{name}_high'], style)}"


def _percent(value: float | None, style: str = ".1f") -> str:
    return "-" if value is None else format(100 * value, style)


def _kbps(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
