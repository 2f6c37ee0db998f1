"""Progress bars of a batch: one for each recording that is under way, and one for all."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from voicewire.client.local import Heard


class BatchProgress(AbstractContextManager["BatchProgress"]):
    """Drawn while it is entered. Its methods may be called from any thread.

    Args:
        durations: of each recording in seconds, where it is known.
    """

    def __init__(self, console: Console, durations: Sequence[float | None], *, quiet: bool = False) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Seconds(""),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet,
        )
        known = [duration for duration in durations if duration is not None]
        total = sum(known) if len(known) == len(durations) else None
        self._all = self._bars.add_task(f"all {len(durations)}", total=total, visible=len(durations) > 1)

    @contextmanager
    def bar(self, name: str, duration_s: float | None) -> Iterator[Heard]:
        """A bar for one recording: gives what is to be told of every second that is done."""
        task = self._bars.add_task(Text(name).markup, total=duration_s)
        told_s = 0.0

        def heard(seconds: float) -> None:
            nonlocal told_s
            told_s += seconds
            self._bars.advance(task, seconds)
            self._bars.advance(self._all, seconds)

        try:
            yield heard
        finally:
            # Silence at its end was not told, and one that failed is done with too.
            self._bars.advance(self._all, max(0.0, (duration_s or told_s) - told_s))
            self._bars.remove_task(task)

    def tell(self, error: str) -> None:
        """A line above the bars."""
        self._bars.console.print(f"[red]{Text(error).markup}[/]", highlight=False, soft_wrap=True)

    def __enter__(self) -> "BatchProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class _Seconds(TextColumn):
    """How much of how much."""

    def render(self, task: Task) -> Text:
        of = f" of {task.total:.0f}" if task.total else ""
        return Text(f"{task.completed:.0f}{of} s", style="progress.download")
