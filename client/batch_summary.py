"""What came of a batch: a table for people, JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from voicewire.client.errors import CommandError
from voicewire.client.transcript_batch import Outcome, Status
from voicewire.client.transcript_files import TranscriptFiles


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The outcomes of a batch.

    Attributes:
        took_s: all of it, which is less than the sum where several were under way at once.
    """

    outcomes: Sequence[Outcome]
    files: TranscriptFiles
    took_s: float

    @property
    def exit_status(self) -> int:
        """130 after Ctrl-C, 1 where a recording failed, else 0."""
        statuses = {outcome.status for outcome in self.outcomes}
        return 130 if Status.STOPPED in statuses else int(Status.FAILED in statuses)

    def show(self, console: Console) -> None:
        """A table: a row for each recording, and one for all."""
        table = Table("recording", box=None)
        for title in ("duration", "language", "words", "speed"):
            table.add_column(title, justify="right")
        table.add_column("status")
        for outcome in self.outcomes:
            table.add_row(Text(outcome.recording.name), *_cells([outcome], outcome.took_s), _status(outcome))
        if len(self.outcomes) > 1:
            table.add_section()
            table.add_row("together", *_cells(self.outcomes, self.took_s), self._counts())
        console.print(table)

    def write(self, path: Path) -> None:
        """The same as JSON; seconds, and `speed` in seconds of audio per second. Raises CommandError."""
        content = {
            "took_s": round(self.took_s, 3),
            "recordings": [self._facts(outcome) for outcome in self.outcomes],
        }
        try:
            path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"--summary {path} cannot be written: {error.strerror or error}") from error

    def _facts(self, outcome: Outcome) -> dict[str, object]:
        facts: dict[str, object] = {
            "recording": outcome.recording.path,
            "status": outcome.status.name.lower(),
        }
        if outcome.status in (Status.DONE, Status.SKIPPED):
            facts["files"] = [str(path) for path in self.files.paths(outcome.recording)]
        if outcome.status is Status.DONE:
            facts |= {
                "duration_s": round(outcome.duration_s, 3),
                "language": outcome.language,
                "words": outcome.words,
                "took_s": round(outcome.took_s, 3),
                "speed": round(outcome.duration_s / max(outcome.took_s, 1e-9), 2),
            }
        if outcome.error is not None:
            facts["error"] = outcome.error
        return facts

    def _counts(self) -> str:
        counts = {status: sum(one.status is status for one in self.outcomes) for status in Status}
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def _cells(outcomes: Sequence[Outcome], took_s: float) -> tuple[str, str, str, str]:
    """Duration, language, words and speed of what is done."""
    done = [outcome for outcome in outcomes if outcome.status is Status.DONE]
    if not done:
        return "", "", "", ""
    seconds = sum(outcome.duration_s for outcome in done)
    languages = sorted({outcome.language for outcome in done})
    words = sum(outcome.words for outcome in done)
    return f"{seconds:.1f} s", " ".join(languages), str(words), f"{seconds / max(took_s, 1e-9):.1f} x"


def _status(outcome: Outcome) -> str:
    return f"[red]{outcome.status}[/]" if outcome.status is Status.FAILED else str(outcome.status)
