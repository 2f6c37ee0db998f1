"""`voicewire transcribe`: recordings to text and subtitles, in this process and its workers."""

import glob
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from voicewire.client.audio_files import STDIN
from voicewire.client.batch_summary import BatchSummary
from voicewire.client.capacity import cores, default_workers
from voicewire.client.commands.options import (
    AdapterOption,
    DeviceOption,
    KeytermOption,
    KeytermsOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    keyterms_of,
)
from voicewire.client.errors import CommandError
from voicewire.client.local import DETECT, LocalTranscriber, ModelChoice, Wanted
from voicewire.client.offline import Offline
from voicewire.client.online import Online
from voicewire.client.ray_batch import RayBatch
from voicewire.client.recordings import Recording, find_recordings
from voicewire.client.transcript_batch import Outcome, Status, TranscriptBatch
from voicewire.client.transcript_files import TranscriptFiles
from voicewire.streaming.subtitles.transcripts import TimedTranscript
from voicewire.streaming.subtitles.writers import SubtitleFormat, render

ALL = "all"
# About what a worker is given at a time; and the parts of a recording that does not say how long it is.
PASSAGE_S = 120.0
_MANY = 100
FORMATS = tuple(form.name.lower() for form in SubtitleFormat)
RESULTS, SPEECH, MACHINE = "Results", "What is spoken", "The machine"


def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Recordings, videos, folders, patterns in quotes, or -."),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--format",
            rich_help_panel=RESULTS,
            help=f"{', '.join(FORMATS)} or {ALL}; several with commas. karaoke: VTT whose words light up.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            "--output-dir",
            rich_help_panel=RESULTS,
            help="Folder for the results, or - for standard output. Left out: beside the recordings.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", rich_help_panel=RESULTS, help="Also what is done already.")
    ] = False,
    summary: Annotated[
        Path | None,
        typer.Option(rich_help_panel=RESULTS, help="A JSON file that says what came of each recording."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", rich_help_panel=RESULTS, help="Say nothing but what failed.")
    ] = False,
    language: Annotated[
        str,
        typer.Option(
            rich_help_panel=SPEECH,
            help="Whisper's code for it (en, de, fr ...); auto finds out, offline only.",
        ),
    ] = "en",
    translate: Annotated[
        bool,
        typer.Option(
            "--translate", rich_help_panel=SPEECH, help="Write English, whatever is spoken; offline only."
        ),
    ] = False,
    channels: Annotated[
        bool,
        typer.Option("--channels", rich_help_panel=SPEECH, help="Each channel is a speaker of its own."),
    ] = False,
    speakers: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=SPEECH, help='Their names, channel by channel: "Agent,Caller". Means --channels.'
        ),
    ] = None,
    track: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=SPEECH, help="Which audio track of a video.")
    ] = None,
    skip_silence: Annotated[
        bool,
        typer.Option(
            "--skip-silence/--all-audio",
            rich_help_panel=SPEECH,
            help="Offline: leave out silences of over 2 s, or give Whisper all there is (songs, say).",
        ),
    ] = True,
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
    keyterm: KeytermOption = None,
    keyterms: KeytermsOption = None,
    model: ModelOption = "base",
    adapter: AdapterOption = "default",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=MACHINE,
            help="How many recordings, or parts of a long one, at once. Left out: as cores and memory allow.",
        ),
    ] = None,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            rich_help_panel=MACHINE,
            help="On a cluster of Ray's: that of RAY_ADDRESS, or one that runs here, or a new one.",
        ),
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Transcribe recordings into text, subtitles (SRT, VTT) or Whisper's JSON.

    Any audio or video that soundfile or FFmpeg reads; in a folder, and those
    inside it, whatever has the suffix of one. Without --streaming this is
    unmodified Whisper, the most accurate there is here.

    One file without -f and -o is printed; otherwise each result is written
    beside its recording, or into the folder -o, which gets the tree of the
    folder that was named. A file that cannot be read is reported, the rest go
    on, and the exit status is 1.

    A result is there when it is whole, never before, and what is there is not
    made again: after Ctrl-C (exit status 130) the same command goes on.

    [bold]Examples[/]

        voicewire transcribe talk.mp3
        voicewire transcribe lectures/ -f srt,txt -o subtitles
        voicewire transcribe "calls/**/*.wav" --speakers "Agent,Caller" -f json
        voicewire transcribe film.mkv --track 2 --language fr --translate -f vtt
        voicewire transcribe archive/ -f all --workers 4 --summary done.json
        voicewire transcribe archive/ -o /shared/texts --ray
        voicewire transcribe talk.wav --streaming --commit-ms 600
        voicewire transcribe talk.wav --streaming --keyterm Kirkland --keyterms names.txt
        ffmpeg -i talk.mov -f wav - | voicewire transcribe - -f json
    """
    named = tuple(name.strip() for name in speakers.split(",")) if speakers else ()
    terms = keyterms_of(keyterm, keyterms)
    wanted = Wanted(language, translate, channels or bool(named), named, skip_silence, terms)
    _check(wanted, streaming)
    results = TranscriptFiles(_formats(formats))
    to_stdout = str(output) == STDIN or (output is None and not ray and _is_for_reading(files, formats))
    recordings = find_recordings(files, None if to_stdout else output)
    _check_results(recordings, results, to_stdout, ray)
    todo = [one for one in recordings if to_stdout or again or not results.are_done(one)]
    choice = ModelChoice(model, adapter, device, precision, threads)
    console = Console(stderr=True)

    def loader(choice: ModelChoice, processes: int) -> Callable[[], LocalTranscriber]:
        if streaming:
            return partial(Online, choice, wanted, chunk_ms, commit_ms)
        return partial(Offline, choice, wanted, processes)

    def finished(recording: Recording, transcript: TimedTranscript) -> None:
        if to_stdout:
            sys.stdout.write(render(transcript, results.formats[0]))
        else:
            results.write(recording, transcript)

    began = time.monotonic()
    outcomes = {one: Outcome(one, Status.SKIPPED) for one in recordings}
    told: list[Outcome] = []
    if todo and ray:
        choice = replace(choice, threads=threads or 1)
        told = RayBatch(
            loader(choice, 0), todo, results, console, choice, workers=workers, track=track, quiet=quiet
        ).run()
    elif todo:
        count = min(workers or default_workers(choice), _parts(todo, track, streaming))
        choice = replace(choice, threads=threads or max(1, cores() // count))
        with nullcontext() if quiet else console.status(f"loading {model}"):
            transcriber = loader(choice, count)()
        with closing(transcriber):
            told = TranscriptBatch(
                transcriber, todo, finished, console, at_once=count, track=track, quiet=quiet
            ).run()
    outcomes |= {outcome.recording: outcome for outcome in told}
    report = BatchSummary(list(outcomes.values()), results, time.monotonic() - began)
    if summary is not None:
        report.write(summary)
    if not quiet and (len(recordings) > 1 or not to_stdout):
        report.show(console)
    if status := report.exit_status:
        raise typer.Exit(status)


def _check(wanted: Wanted, streaming: bool) -> None:
    """Raises CommandError for what no recording could be given."""
    if not all(wanted.speakers) or any(not name.isprintable() for name in wanted.speakers):
        raise CommandError('--speakers wants a name for each channel: --speakers "Agent,Caller"')
    if streaming and (wanted.translate or wanted.language == DETECT):
        raise CommandError("--translate and --language auto are for Whisper as it is: leave out --streaming")
    if wanted.keyterms and not streaming:
        raise CommandError("--keyterm and --keyterms are for the path that the server runs: add --streaming")


def _check_results(
    recordings: Sequence[Recording], results: TranscriptFiles, to_stdout: bool, ray: bool
) -> None:
    """Raises CommandError where the results have no place."""
    if ray and (to_stdout or any(recording.path == STDIN for recording in recordings)):
        raise CommandError("--ray is for files that every machine of the cluster sees, not for -")
    if to_stdout and (len(recordings) > 1 or len(results.formats) > 1):
        raise CommandError("standard output takes one recording in one format: name a folder by -o")
    if not to_stdout and any(recording.results is None for recording in recordings):
        raise CommandError("a recording from standard input has no folder of its own: name one by -o")


def _formats(names: Sequence[str] | None) -> list[SubtitleFormat]:
    """The formats asked for, each once. Raises CommandError."""
    chosen: list[SubtitleFormat] = []
    for name in itertools.chain.from_iterable(asked.split(",") for asked in names or [FORMATS[0]]):
        if name not in (ALL, *FORMATS):
            raise CommandError(f"there is no format {name!r}: choose {', '.join(FORMATS)} or {ALL}")
        chosen += list(SubtitleFormat) if name == ALL else [SubtitleFormat[name.upper()]]
    return list(dict.fromkeys(chosen))


def _is_for_reading(files: Sequence[str], formats: Sequence[str] | None) -> bool:
    """Whether the result goes to standard output although nobody said so."""
    if len(files) != 1 or glob.has_magic(files[0]):
        return False
    return files[0] == STDIN or (formats is None and not Path(files[0]).is_dir())


def _parts(recordings: Sequence[Recording], track: int | None, streaming: bool) -> int:
    """How many workers could be busy: one for each recording, or each passage of one where Whisper is as it is."""
    if streaming:
        return max(1, len(recordings))
    seconds = (recording.duration_s(track) for recording in recordings)
    return sum(_MANY if length is None else math.ceil(length / PASSAGE_S) for length in seconds) or 1
