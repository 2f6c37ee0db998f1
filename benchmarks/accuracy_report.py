"""What an accuracy run found: as JSON, as a table in the terminal, as Markdown, and its worst transcripts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import Machine
from benchmarks.word_errors import Interval, WordErrors, difference_interval, rate_interval, total
from voicewire.asr.settings import StreamSettings

BEGIN, END = "<!-- accuracy:begin -->", "<!-- accuracy:end -->"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip's transcript and what is wrong with it."""

    key: str
    minutes: float
    reference: str
    hypothesis: str
    errors: WordErrors


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
        everything = total(self.errors)
        minutes = sum(utterance.minutes for utterance in self.utterances)
        figures: dict[str, Any] = {}
        if self.settings:
            figures |= {"chunk_ms": self.settings.chunk_ms, "commit_ms": self.settings.commit_ms}
        figures |= {"wer": everything.rate} | _bounds("wer", rate_interval(self.errors)) | asdict(everything)
        figures |= {"utterances": len(self.utterances), "minutes": round(minutes, 2)}
        figures["insertions_per_minute"] = everything.insertions / minutes if minutes else None
        if base and everything.rate is not None:
            figures["difference"] = everything.rate - (total(base.errors).rate or 0.0)
            figures |= _bounds("difference", difference_interval(self.errors, base.errors))
        return figures

    def worst(self, count: int) -> list[Utterance]:
        return sorted(self.utterances, key=lambda one: -one.errors.errors)[:count]


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """All that was measured on one tar."""

    name: str
    offline: Outcome
    streaming: tuple[Outcome, ...]


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
        table = Table(title="Word error rate in percent, with 95 % intervals")
        for heading in _HEADINGS:
            table.add_column(heading, justify="left" if heading in _HEADINGS[:2] else "right", no_wrap=True)
        for row in self._rows():
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
        """Replaces what stands between the markers in `path`; appends them to a file that lacks them."""
        old = path.read_text(encoding="utf-8") if path.exists() else "# Accuracy\n"
        before, found, rest = old.partition(BEGIN)
        after = rest.partition(END)[2] if found else ""
        if not found:
            before = before.rstrip("\n") + "\n\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{before}{BEGIN}\n{self._markdown()}{END}{after or chr(10)}", encoding="utf-8")

    def _markdown(self) -> str:
        rows = [_HEADINGS, tuple("---" if at < 2 else "---:" for at in range(len(_HEADINGS))), *self._rows()]
        table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
        run = ", ".join(f"{name} {value}" for name, value in self.run.items() if value is not None)
        return f"{table}\nRun with {run}.\n{self.machine}\n"

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for one in self.sets:
            rows.append(_row(one.name, one.offline.name, one.offline.figures()))
            rows += [_row("", outcome.name, outcome.figures(one.offline)) for outcome in one.streaming]
        return rows


_HEADINGS = (
    "set",
    "chunk:commit",
    "WER %",
    "95 %",
    "against offline",
    "sub",
    "del",
    "ins",
    "words",
    "utterances",
)


def _row(name: str, setting: str, figures: dict[str, Any]) -> tuple[str, ...]:
    def percent(what: str, style: str) -> str:
        return format(100 * figures[what], style) if figures.get(what) is not None else "-"

    against = ""
    if "difference" in figures:
        low, high = percent("difference_low", "+.1f"), percent("difference_high", "+.1f")
        against = f"{percent('difference', '+.1f')} ({low} to {high})"
    return (
        name,
        setting,
        percent("wer", ".1f"),
        f"{percent('wer_low', '.1f')} to {percent('wer_high', '.1f')}",
        against,
        *(str(figures[what]) for what in ("substitutions", "deletions", "insertions", "words", "utterances")),
    )


def _bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
