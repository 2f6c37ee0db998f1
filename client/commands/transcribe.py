"""`voicewire transcribe`: recordings to text and subtitles, in this process."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from voicewire.client.audio_files import STDIN, open_audio
from voicewire.client.commands.options import (
    AdapterOption,
    DeviceOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
)
from voicewire.client.errors import ClientError, CommandError
from voicewire.client.local import LocalTranscriber, ModelChoice, load_offline, load_streaming
from voicewire.client.recordings import Recording, find_recordings
from voicewire.streaming.subtitles.transcripts import TimedTranscript
from voicewire.streaming.subtitles.writers import SubtitleFormat, render

ALL = "all"


def transcribe(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings, videos, folders of them, or -.")
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("-f", "--format", help="txt, srt, vtt, json or all; may be given several times."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder for the results, or - for standard output. Left out: beside."
        ),
    ] = None,
    model: ModelOption = "base",
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming/--offline",
            help="The path that the server runs, or unmodified full-context Whisper, which is the most accurate.",
        ),
    ] = False,
    chunk_ms: Annotated[
        int, typer.Option(min=100, max=300, help="With --streaming: how often new audio is looked at.")
    ] = 300,
    commit_ms: Annotated[
        int,
        typer.Option(min=100, max=1200, help="With --streaming: length of a block whose words are settled."),
    ] = 1200,
    language: Annotated[
        str, typer.Option(help="What is spoken, as Whisper's code for it; auto finds out (offline only).")
    ] = "en",
    adapter: AdapterOption = "default",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Transcribe recordings into text, subtitles (SRT, VTT) or Whisper's JSON.

    Any audio or video that soundfile or FFmpeg reads. Without --streaming this
    is unmodified Whisper, the most accurate there is here.

    One file without -f and -o is printed; otherwise each result is written
    beside its recording, or into the folder -o. A file that cannot be read is
    reported, the rest go on, and the exit status is 1.

    [bold]Examples[/]

        voicewire transcribe talk.mp3
        voicewire transcribe lectures/ -f srt -f txt -o subtitles
        voicewire transcribe *.wav -f all
        voicewire transcribe talk.wav --streaming --commit-ms 600
        ffmpeg -i talk.mov -f wav - | voicewire transcribe - -f json
    """
    chosen = _formats(formats)
    to_stdout = str(output) == STDIN or (output is None and _is_for_reading(files, formats))
    recordings = find_recordings(files, None if to_stdout else output)
    if to_stdout and (len(recordings) > 1 or len(chosen) > 1):
        raise CommandError("standard output takes one recording in one format: name a folder by -o")
    if not to_stdout and any(recording.results is None for recording in recordings):
        raise CommandError("a recording from standard input has no folder of its own: name one by -o")
    choice = ModelChoice(model, adapter, device, precision, threads)
    console = Console(stderr=True)
    with console.status(f"loading {model}"):
        transcriber = (
            load_streaming(choice, language, chunk_ms, commit_ms)
            if streaming
            else load_offline(choice, language)
        )
    batch = Batch(transcriber, recordings, console)
    for result in batch.run():
        for form in chosen:
            path = None if to_stdout else result.recording.result_path(form)
            text = render(result.transcript, form)
            if path is None:
                sys.stdout.write(text)
            else:
                _write(path, text)
    if len(recordings) > 1 or not to_stdout:
        batch.print_summary()
    if batch.failures:
        raise typer.Exit(1)


def _formats(names: Sequence[str] | None) -> list[SubtitleFormat]:
    """The formats asked for, each once. Raises CommandError."""
    chosen: list[SubtitleFormat] = []
    for name in names or [SubtitleFormat.TXT]:
        if name != ALL and name not in set(SubtitleFormat):
            raise CommandError(f"there is no format {name!r}: choose {', '.join(SubtitleFormat)} or {ALL}")
        chosen += list(SubtitleFormat) if name == ALL else [SubtitleFormat(name)]
    return list(dict.fromkeys(chosen))


def _is_for_reading(files: Sequence[str], formats: Sequence[str] | None) -> bool:
    """Whether the result goes to standard output although nobody said so."""
    return len(files) == 1 and (files[0] == STDIN or (formats is None and not Path(files[0]).is_dir()))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written ({error.strerror}): name another folder by -o"
        ) from error


@dataclass(frozen=True, slots=True)
class Result:
    """One recording that was transcribed."""

    recording: Recording
    transcript: TimedTranscript
    took_s: float


class Batch:
    """Transcribes recordings one after the other, with a progress bar over all their audio."""

    def __init__(
        self, transcriber: LocalTranscriber, recordings: Sequence[Recording], console: Console
    ) -> None:
        self.failures: list[tuple[Recording, ClientError]] = []
        self.results: list[Result] = []
        self._transcriber = transcriber
        self._recordings = recordings
        self._console = console

    def run(self) -> Iterator[Result]:
        """Gives each result as it is done; failures are reported and kept."""
        durations = [recording.duration_s() for recording in self._recordings]
        total = None if None in durations else sum(duration or 0.0 for duration in durations)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} s" if total else "{task.completed:.0f} s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=total)
            for recording in self._recordings:
                progress.update(task, description=recording.name)
                began = time.monotonic()
                try:
                    with open_audio(recording.path) as audio:
                        transcript = self._transcriber.transcribe(audio, lambda s: progress.advance(task, s))
                except ClientError as error:
                    self.failures.append((recording, error))
                    progress.console.print(f"[red]passed over:[/] {error}", highlight=False, soft_wrap=True)
                    continue
                result = Result(recording, transcript, time.monotonic() - began)
                self.results.append(result)
                yield result

    def print_summary(self) -> None:
        table = Table("recording", box=None)
        for title in ("duration", "words", "speed"):
            table.add_column(title, justify="right")
        for result in self.results:
            seconds = result.transcript.duration_s
            speed = f"{seconds / max(result.took_s, 1e-9):.1f} x"
            table.add_row(result.recording.name, f"{seconds:.1f} s", str(len(result.transcript.words)), speed)
        for recording, _ in self.failures:
            table.add_row(Text(recording.name), "[red]not read[/]", "", "")
        if len(self.results) > 1:
            table.add_section()
            seconds = sum(result.transcript.duration_s for result in self.results)
            words = sum(len(result.transcript.words) for result in self.results)
            took_s = sum(result.took_s for result in self.results)
            table.add_row("together", f"{seconds:.1f} s", str(words), f"{seconds / max(took_s, 1e-9):.1f} x")
        self._console.print(table)
