"""What an accuracy run found: as JSON, as tables in the terminal, as Markdown, and its worst transcripts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy_outcome import SetOutcome
from benchmarks.machine import Machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.marks import KINDS

_LEFT = ("set", "chunk:commit")
_COUNTS = ("substitutions", "deletions", "insertions", "words", "utterances")
_ERRORS = (*_LEFT, "WER %", "95 %", "against offline", "sub", "del", "ins", "words", "utterances", "ins/min")
_SHOWN = (*_LEFT, "interim WER %", "95 %", "against committed", "taken back %", *(f"{k} F1" for k in KINDS))


@dataclass(frozen=True, slots=True)
class AccuracyReport:
    """A whole run."""

    sets: tuple[SetOutcome, ...]
    machine: Machine
    run: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        sets = {
            one.name: {
                "offline": one.offline.figures(),
                "streaming": [outcome.figures(one.offline) for outcome in one.streaming],
            }
            for one in self.sets
        }
        return {"sets": sets, "run": self.run | {"machine": asdict(self.machine)}}

    def print(self, console: Console) -> None:
        errors, shown = self._rows()
        for title, headings, rows in (
            ("Word error rate in percent, with 95 % intervals", _ERRORS, errors),
            ("What is shown 0.6 s after each word; how it is written", _SHOWN, shown),
        ):
            table = Table(title=title)
            for heading in headings:
                table.add_column(heading, justify="left" if heading in _LEFT else "right", no_wrap=True)
            for row in rows:
                table.add_row(*row)
            console.print(table)

    def print_worst(self, console: Console, count: int) -> None:
        for one in self.sets:
            for outcome in (one.offline, *one.streaming):
                console.rule(f"{one.name}, {outcome.name}: the worst {count}")
                for utterance in outcome.worst(count):
                    wrong = utterance.errors
                    counts = f"sub {wrong.substitutions} del {wrong.deletions} ins {wrong.insertions}"
                    console.print(f"{utterance.key}  {wrong.errors}/{wrong.words}  {counts}", style="bold")
                    console.print(f"  ref {utterance.reference}\n  hyp {utterance.hypothesis}", markup=False)

    def write_markdown(self, path: Path) -> None:
        """Replaces the section `accuracy` in `path`; appends it to a file that lacks it."""
        errors, shown = self._rows()
        run = ", ".join(f"{name} {value}" for name, value in self.run.items() if value is not None)
        replace_section(
            path,
            "accuracy",
            f"{markdown_table(_ERRORS, errors, left=2)}\n{markdown_table(_SHOWN, shown, left=2)}\n"
            f"Run with {run}.\n{self.machine}\n",
        )

    def _rows(self) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        errors, shown = [], []
        for one in self.sets:
            errors.append(_error_row(one.name, one.offline.name, one.offline.figures()))
            for outcome in one.streaming:
                figures = outcome.figures(one.offline)
                errors.append(_error_row("", outcome.name, figures))
                shown.append(
                    _shown_row(one.name if outcome is one.streaming[0] else "", outcome.name, figures)
                )
        return errors, shown


def _error_row(name: str, setting: str, figures: dict[str, Any]) -> tuple[str, ...]:
    counts = (str(figures[what]) for what in _COUNTS)
    return (name, setting, *_rates(figures), *counts, _number(figures["insertions_per_minute"], ".2f"))


def _shown_row(name: str, setting: str, figures: dict[str, Any]) -> tuple[str, ...]:
    marks = (_number(figures.get("marks", {}).get(kind, {}).get("f1"), ".2f") for kind in KINDS)
    return (name, setting, *_rates(figures.get("interim", {})), _percent(figures["tail"]["share"]), *marks)


def _rates(figures: dict[str, Any]) -> tuple[str, str, str]:
    """Rate, interval and difference, in percent."""

    def span(name: str, style: str) -> str:
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        return "-" if low is None else f"{_percent(low, style)} to {_percent(high, style)}"

    against = ""
    if "difference" in figures:
        against = f"{_percent(figures['difference'], '+.1f')} ({span('difference', '+.1f')})"
    return _percent(figures.get("wer")), span("wer", ".1f"), against


def _percent(value: float | None, style: str = ".1f") -> str:
    return _number(None if value is None else 100 * value, style)


def _number(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
