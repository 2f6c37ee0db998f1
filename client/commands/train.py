"""`voicewire train`: an adapter of one's own, from recordings with or without texts."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from voicewire.client.commands.options import DeviceOption, LanguageOption, ModelOption, ThreadsOption
from voicewire.client.errors import CommandError
from voicewire.client.local import server_packages

if TYPE_CHECKING:
    from voicewire.asr.train.fit import Standing
    from voicewire.asr.train.prepare import Summary
    from voicewire.asr.train.settings import FitSettings

DataOption = Annotated[
    list[Path], typer.Option("--data", help="Folder that `prepare` wrote; may be given several times.")
]


@contextmanager
def _training() -> Iterator[None]:
    """As server_packages; a folder that cannot be written to, or a full disk, is the user's business too."""
    try:
        with server_packages("server,weights,train"):
            yield
    except OSError as error:
        raise CommandError(str(error)) from error


def prepare(
    tars: Annotated[
        list[Path],
        typer.Argument(metavar="TAR...", help="Tars of KEY.opus|flac|wav and KEY.json pairs.", exists=True),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for what is prepared.")],
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much of each tar, from its first name on.")
    ] = 1.0,
    least_agreement: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Words of a text that Whisper must hear too; else it is left out."
        ),
    ] = 0.4,
    least_confidence: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How sure Whisper must be of what nobody wrote down."),
    ] = 0.75,
    language: LanguageOption = "en",
    model: ModelOption = "base",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Recordings and texts to utterances with tokens and times.

    A JSON file needs "text" (empty: Whisper's own transcript is taken where it is
    sure) and "language" ("zxx": noise, nothing is said); "corpus", "speaker" and
    "licence" go into the model card. Texts in capitals or without punctuation
    are written as Whisper would write them.

    A tar that is prepared already is skipped, so the command may be repeated. A
    recording that cannot be read is left out, and told of.

    [bold]Examples[/]

        voicewire train prepare speech/*.tar -o prepared
        voicewire train prepare noise.tar --share 0.5 -o prepared
    """
    if len({tar.stem for tar in tars}) < len(tars):
        raise CommandError("two of the tars have the same name, and so would their shards: rename one")
    with _training():
        from voicewire.asr.train.prepare import Preparer
        from voicewire.asr.train.teacher import Teacher

        console = Console(stderr=True)
        with console.status(f"loading {model}"):
            teacher = Teacher.load(model, language, device, threads)
        preparer = Preparer(teacher, least_agreement=least_agreement, least_confidence=least_confidence)
        table = Table("tar", "kept", "left out", "damaged", "minutes", "noise, min")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            whole = progress.add_task("all", total=len(tars), done="")
            for tar in tars:
                task = progress.add_task(tar.name, total=None, done="")
                heard = [0, 0.0]

                def told(duration_s: float, task: TaskID = task, heard: list[float] = heard) -> None:
                    heard[0] += 1
                    heard[1] += duration_s
                    progress.update(task, done=f"{heard[0]:.0f} recordings, {heard[1] / 60:.1f} min")

                summary = preparer.prepare(tar, out, share, told)
                _add_row(table, tar, summary)
                for damage in summary.damaged:
                    console.print(f"left out: {damage}", markup=False, highlight=False)
                progress.update(task, total=1, completed=1)
                progress.advance(whole)
        console.print(table)


def fit(
    run: Annotated[Path, typer.Argument(help="Folder of the run; one that has begun goes on.")],
    data: DataOption,
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            help="Tar of held-out speech, to find the best by; may be given several times.", exists=True
        ),
    ] = None,
    dev_utterances: Annotated[int, typer.Option(min=1, help="Of each of them.")] = 60,
    config: Annotated[
        Path | None,
        typer.Option(help="JSON of settings, as a run's settings.json.", exists=True, dir_okay=False),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(min=0.01, help="Of windows, until the rate has fallen; may be raised later."),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.0, help="Stop after so long; go on another time.")
    ] = math.inf,
    begin_with: Annotated[
        str | None, typer.Option(help="Adapter to begin with: default, or a path. Left out: none.")
    ] = None,
    examine_minutes: Annotated[float, typer.Option(min=0.1, help="How often --dev is transcribed.")] = 20.0,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Train an adapter; interrupt it whenever you like, and repeat the command to go on.

    On a processor it takes all cores and hours: nothing else should run beside
    it. The best adapter so far, by the word error rate on --dev, lies in
    RUN/best and can be used at once. RUN is a TensorBoard folder.

    [bold]Examples[/]

        voicewire train fit runs/mine --data prepared --dev dev.tar --begin-with default
        voicewire train fit runs/mine --data prepared --dev dev.tar --minutes 90
        voicewire serve --adapter runs/mine/best
        tensorboard --logdir runs
    """
    with _training():
        from voicewire.asr.train.evaluation import Examination, mean_rate
        from voicewire.asr.train.fit import Trainer
        from voicewire.asr.train.run import Run
        from voicewire.asr.train.shards import open_shards

        console = Console(stderr=True)
        settings = _settings(run, config, hours)
        with closing(Run(run, settings)) as opened:
            with console.status("loading"):
                examination = Examination(dev or [], dev_utterances)
                trainer = Trainer.load(opened, open_shards(data), examination, device, threads, begin_with)
            began = trainer.standing.hours
            with Progress(*_columns(), console=console) as progress:
                task = progress.add_task("", total=settings.hours, state="")
                progress.update(task, completed=began)

                def told(standing: "Standing") -> None:
                    state = f"step {standing.step}, loss {standing.parts['total']:.3f}"
                    if standing.scores:
                        state += f", word errors {100 * mean_rate(standing.scores):.1f} %"
                    progress.update(task, completed=standing.hours, state=state)

                trainer.fit(minutes=minutes, examine_minutes=examine_minutes, progress=told)
            console.print(_outcome(opened.best, began, trainer.standing.hours, settings.hours))


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(help="Folder for the adapter; its name is the adapter's.")],
    data: DataOption,
) -> None:
    """Write a run's best adapter with its model card, ready to be given away.

    PEFT's format: adapter_config.json, adapter_model.safetensors and a README.md
    that says what it was trained on, how, and how well it did on the way.

    [bold]Example[/]

        voicewire train export runs/mine adapters/mine --data prepared
        voicewire serve --adapter adapters/mine
    """
    with _training():
        from voicewire.asr.train.export import export_run
        from voicewire.asr.train.shards import open_shards

        export_run(run, out, open_shards(data))
    hint = f"voicewire transcribe FILE --streaming --adapter {out}"
    Console(stderr=True).print(f"written to {out}; to try it: {hint}")


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.completed:.2f} of {task.total:g} h"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _outcome(best: Path, began: float, hours: float, planned: float) -> str:
    """What to tell at the end."""
    if began >= planned:
        return f"the run is over, all {planned:g} h: --hours makes it longer"
    kept = f"the best adapter is in {best}" if best.exists() else "no adapter was examined and kept yet"
    rest = "" if hours >= planned else "; the same command goes on"
    return f"{hours - began:.2f} h of windows; {kept}{rest}"


def _settings(run: Path, config: Path | None, hours: float | None) -> "FitSettings":
    """What the configuration says, else what the run was begun with, else the defaults."""
    from voicewire.asr.train.run import read_settings
    from voicewire.asr.train.settings import FitSettings

    if config is not None:
        try:
            settings = FitSettings.read(config)
        except ValueError as error:
            raise CommandError(f"{config} cannot be used: {error}") from error
    elif (run / "settings.json").exists():
        settings = read_settings(run)
    else:
        settings = FitSettings()
    return settings if hours is None else settings.model_copy(update={"hours": hours})


def _add_row(table: Table, tar: Path, summary: "Summary") -> None:
    if summary.was_there:
        table.add_row(tar.name, "prepared before")
        return
    counts = (summary.kept, summary.dropped, summary.damaged_count)
    minutes = (summary.seconds / 60, summary.noise_s / 60)
    table.add_row(tar.name, *map(str, counts), *(f"{value:.1f}" for value in minutes))
