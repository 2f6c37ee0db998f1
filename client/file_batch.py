"""Files made of files, one after the other: a progress bar, what failed, a table at the end."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from voicewire.client.audio_files import STDIN
from voicewire.client.errors import ClientError, CommandError
from voicewire.client.local import Heard


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be made of another.

    Attributes:
        source: a path, or ``-``.
        target: the file to be written.
        duration_s: of what is to be done, where it is known.
        was_there: the target is there already, and stays as it is.
    """

    source: str
    target: Path
    duration_s: float | None
    was_there: bool = False

    @property
    def name(self) -> str:
        return "standard input" if self.source == STDIN else self.source


# Makes the file at the path; tells how many seconds it has dealt with; gives what was wrong with a source of which
# only a part could be used. Raises ClientError for one that could not be used at all.
Work: TypeAlias = Callable[[Job, Path, Heard], str | None]


@dataclass(slots=True)
class _Result:
    job: Job
    seconds: float
    took_s: float
    target_bytes: int


class FileBatch:
    """Runs `work` for each job. A file appears under its name when it is whole, never before.

    Attributes:
        failures: what could not be used, or only in part, and why.
    """

    def __init__(self, jobs: Sequence[Job], work: Work, console: Console) -> None:
        self.failures: list[tuple[Job, str]] = []
        self._jobs = jobs
        self._work = work
        self._console = console
        self._results: list[_Result] = []

    def run(self) -> None:
        """Failures are told and kept, and the rest goes on."""
        todo = [job for job in self._jobs if not job.was_there]
        durations = [job.duration_s for job in todo]
        total = None if None in durations else sum(duration or 0.0 for duration in durations)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} s" if total else "{task.completed:.0f} s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=total)
            for job in todo:
                progress.update(task, description=Text(job.name).markup)
                damage = self._run_one(job, lambda seconds: progress.advance(task, seconds))
                if damage is not None:
                    self.failures.append((job, damage))
                    progress.console.print(f"[red]{Text(damage).markup}[/]", highlight=False, soft_wrap=True)

    def _run_one(self, job: Job, heard: Heard) -> str | None:
        """What was wrong with the source."""
        began, seconds = time.monotonic(), 0.0

        def count(more_s: float) -> None:
            nonlocal seconds
            seconds += more_s
            heard(more_s)

        if job.target.resolve() == Path(job.source).resolve():
            raise CommandError(f"{job.target} would overwrite itself: name another file for the result")
        # The suffix stays, since it names the format.
        part = job.target.with_name(f".part-{job.target.name}")
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            damage = self._work(job, part, count)
            part.replace(job.target)
        except ClientError as error:
            return f"passed over: {error}" if len(self._jobs) > 1 else f"error: {error}"
        except OSError as error:
            raise CommandError(f"{job.target} cannot be written: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        took_s = time.monotonic() - began
        self._results.append(_Result(job, seconds, took_s, job.target.stat().st_size))
        return None if damage is None else f"{job.name} is only used up to its damage: {damage}"

    def print_summary(self) -> None:
        """A table of what was made."""
        table = Table("file", box=None)
        for title in ("duration", "size", "kbps", "speed"):
            table.add_column(title, justify="right")
        for result in self._results:
            _add_row(table, str(result.job.target), [result])
        if len(self._results) > 1:
            table.add_section()
            _add_row(table, "together", self._results)
        were_there = sum(job.was_there for job in self._jobs)
        if self._results:
            self._console.print(table)
        if were_there:
            self._console.print(f"{were_there} were there already", highlight=False)


def _add_row(table: Table, name: str, results: Sequence[_Result]) -> None:
    seconds = sum(result.seconds for result in results)
    size = sum(result.target_bytes for result in results)
    took_s = max(sum(result.took_s for result in results), 1e-9)
    rate = f"{8 * size / seconds / 1000:.2f}" if seconds else ""
    table.add_row(Text(name), f"{seconds:.1f} s", f"{size / 1000:.1f} kB", rate, f"{seconds / took_s:.1f} x")
