"""Recordings transcribed on a cluster of Ray's, by Ray Data: what TranscriptBatch does, with workers elsewhere.

A worker has a model of its own and writes each result where it belongs, so what is done is done, whatever becomes
of the rest. Every machine must see the recordings and the results under the same paths.
"""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from voicewire.client.batch_progress import BatchProgress
from voicewire.client.errors import CommandError
from voicewire.client.local import LocalTranscriber, ModelChoice, server_packages
from voicewire.client.recordings import Recording
from voicewire.client.transcript_batch import Outcome, Status, transcribed
from voicewire.client.transcript_files import TranscriptFiles

if TYPE_CHECKING:
    from ray.data import Dataset

# A worker that dies is begun anew, and the recording that it died over is tried once more.
_TRIES_AGAIN = 1
_LOST = "the workers that had it ended, perhaps for want of memory: the same command tries it again"


class RayBatch:
    """Runs transcribers over recordings, on the cluster that RAY_ADDRESS names or this machine runs, or a new one.

    Args:
        load: makes a worker's transcriber; called there.
        results: written by the workers.
        choice: of a worker, which is given its `threads`, or one processor, and a GPU if its `device` is cuda.
        workers: how many; None is as many as the cluster has room for.
        track: which audio track of each recording; None is the first.
        quiet: no progress bars. Failures are told all the same.

    Raises MissingPackageError where there is no Ray.
    """

    def __init__(
        self,
        load: Callable[[], LocalTranscriber],
        recordings: Sequence[Recording],
        results: TranscriptFiles,
        console: Console,
        choice: ModelChoice,
        *,
        workers: int | None = None,
        track: int | None = None,
        quiet: bool = False,
    ) -> None:
        self._recordings = recordings
        self._durations = [one.duration_s(track) for one in recordings]
        self._progress = BatchProgress(console, self._durations, quiet=quiet)
        with server_packages("server,weights,ray"):
            room = _begin()
            cores, gpus = choice.threads or 1, int(choice.device == "cuda")
            most = room.get("GPU", 0) // gpus if gpus else room.get("CPU", 0) // cores
            count = min(workers or max(1, int(most)), len(recordings))
            worker = (load, [_absolute(one) for one in recordings], results, track)
            self._rows = _rows(worker, len(recordings), count, cores, gpus)

    def run(self) -> list[Outcome]:
        """An outcome for each recording, in order. After KeyboardInterrupt the rest are stopped.

        Raises CommandError where Ray fails, rather than a recording.
        """
        from ray.exceptions import RayError

        outcomes: dict[int, Outcome] = {}
        missing = Status.FAILED
        try:
            with self._progress:
                for row in self._rows.iter_rows():
                    number = row.pop("number")
                    outcomes[number] = self._told(number, **row)
        except KeyboardInterrupt:
            missing = Status.STOPPED
        except RayError as error:
            reason = str(error).strip().rpartition("\n")[2]  # behind the worker's traceback
            raise CommandError(f"the workers cannot go on, but what is done is done: {reason}") from error
        return [outcomes.get(number) or _missing(one, missing) for number, one in enumerate(self._recordings)]

    def _told(self, number: int, status: str, error: str, **facts: Any) -> Outcome:
        """What a worker says of a recording."""
        recording = self._recordings[number]
        with self._progress.bar(recording.name, self._durations[number]):
            pass  # all of it at once
        if error:
            self._progress.tell(f"passed over: {error}")
        return Outcome(recording, Status[status], error=error or None, **facts)


def _missing(recording: Recording, status: Status) -> Outcome:
    """Of a recording of which no worker has told anything."""
    return Outcome(recording, status, error=f"{recording.name}: {_LOST}" if status is Status.FAILED else None)


class _Worker:
    """What Ray Data makes in each of its workers, and calls with a row for each recording."""

    def __init__(
        self,
        load: Callable[[], LocalTranscriber],
        recordings: Sequence[Recording],
        results: TranscriptFiles,
        track: int | None,
    ) -> None:
        self._transcriber = load()
        self._recordings, self._results, self._track = recordings, results, track

    def __call__(self, row: dict[str, int]) -> dict[str, int | float | str]:
        recording = self._recordings[row["number"]]
        outcome = transcribed(recording, self._transcriber, self._results.write, self._track)
        return {
            "number": row["number"],
            "status": outcome.status.name,
            "duration_s": outcome.duration_s,
            "language": outcome.language,
            "words": outcome.words,
            "took_s": outcome.took_s,
            "error": outcome.error or "",
        }


def _begin() -> dict[str, float]:
    """Connects to the cluster; what it has."""
    import ray.data

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        ignore_reinit_error=True, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # whatever becomes of one recording, the others are done
    room: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return room


def _rows(worker: tuple[object, ...], recordings: int, count: int, cores: int, gpus: int) -> "Dataset":
    """A row for each recording, a block and so a task by itself, which dies with its worker and with no other."""
    import ray.data

    items = [{"number": number} for number in range(recordings)]
    numbers = ray.data.from_items(items, override_num_blocks=recordings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that `max_task_retries` goes with Ray 2.64: pyproject.toml knows
        return numbers.map(
            _Worker,  # type: ignore[arg-type]
            fn_constructor_args=worker,
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1),
            num_cpus=cores,
            num_gpus=gpus,
            max_task_retries=_TRIES_AGAIN,
        )


def _absolute(recording: Recording) -> Recording:
    """A worker's folder need not be this process's."""
    path, results = Path(recording.path).absolute(), recording.results
    return replace(recording, path=str(path), results=results and results.absolute())
