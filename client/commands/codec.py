"""`voicewire codec`: recordings to codec tokens and back, and what is in a file of tokens."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voicewire.client import coding
from voicewire.client.audio_files import STDIN, open_audio
from voicewire.client.errors import ClientError, CommandError
from voicewire.client.file_batch import FileBatch, Job
from voicewire.client.local import Heard, server_packages
from voicewire.client.recordings import Recording, find_recordings

SUFFIX = ".vwt"

WeightsOption = Annotated[
    Path | None,
    typer.Option(help="The codec's weights, a file or a folder. Left out: the cache, else a download."),
]


def encode(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A recording, a folder of them, or - for standard input.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="The file of tokens (.vwt), a folder for a folder, or -.")
    ],
    codec: Annotated[
        str, typer.Option(help="Which codec; voicewire codec list names them.", show_default=True)
    ] = "lyra_v2",
    kbps: Annotated[
        float | None, typer.Option(help="Bitrate. Left out: the highest that the codec has.")
    ] = None,
    weights: WeightsOption = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1_000, help="The input is raw 16-bit little-endian samples of one channel at this rate."
        ),
    ] = None,
) -> None:
    """Recordings to tokens.

    Takes whatever soundfile or FFmpeg reads, also the sound of videos, at any
    rate. A folder's tree is kept, and what is there already is passed over, so
    the command may be repeated. A pipe is encoded as it comes: Ctrl-C, or the
    end of what feeds it, finishes the tokens.

    [bold]Examples[/]

        voicewire codec encode talk.mp3 talk.vwt --kbps 3.2
        voicewire codec encode lectures/ tokens/ --codec encodec_24khz --kbps 6
        arecord -f S16_LE -r 16000 -t raw | voicewire codec encode - talk.vwt --rate 16000
        ffmpeg -i talk.mov -f wav - | voicewire codec encode - - > talk.vwt
    """
    if target == STDIN and sys.stdout.isatty():
        raise CommandError("tokens are no text for a terminal: name a file, or send them into a pipe")
    console = Console(stderr=True)
    with console.status(f"loading {codec}"):
        loaded = coding.load_codec(codec, weights)
        codebooks = coding.codebooks_of(loaded, kbps)

    def write(path: str, file: Callable[[bytes], object], live: bool, heard: Heard) -> None:
        with open_audio(path, raw_rate=rate) as audio:
            coding.encode(audio, loaded, codebooks, file, live, heard)

    def work(job: Job, path: Path, heard: Heard) -> None:
        with path.open("wb") as file:
            write(job.source, file.write, False, heard)

    if source == STDIN:
        # The program that feeds the pipe hears Ctrl-C too and ends; a second one ends this one.
        signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.default_int_handler))
    if target == STDIN:
        with _writing():
            write(source, _write_out, True, lambda _: None)
        return
    _finish(FileBatch(_recordings(source, Path(target)), work, console))


def decode(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A file of tokens (.vwt), a folder of them, or -.")
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="The sound: .wav, .flac or .ogg, a folder for a folder, or -."),
    ],
    start: Annotated[float, typer.Option(min=0.0, help="Where to begin, in seconds.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(min=0.0, help="How much, in seconds. Left out: all that there is.")
    ] = None,
    weights: WeightsOption = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="To standard output bare 16-bit little-endian samples instead of a WAV."),
    ] = False,
) -> None:
    """Tokens to sound.

    The codec is the one that made them; its weights must be the same. A folder
    becomes a folder of .wav files; what is there already is passed over. From a
    file that is cut short or damaged, all before the damage is written, and the
    exit status is 1.

    [bold]Examples[/]

        voicewire codec decode talk.vwt talk.wav
        voicewire codec decode talk.vwt part.wav --start 60 --duration 10
        voicewire codec decode tokens/ sound/
        voicewire codec decode talk.vwt - | ffplay -nodisp -autoexit -
    """
    console = Console(stderr=True)
    load = cache(lambda name: coding.load_codec(name, weights))

    def work(job: Job, path: Path, heard: Heard) -> str | None:
        with coding.open_tokens(job.source) as tokens:
            codec = load(tokens.hello.codec)
            with coding.open_sound(path, codec.sample_rate) as file:
                return coding.decode(tokens, codec, start, duration, file.write, heard)

    if target != STDIN:
        _finish(FileBatch(_token_files(source, Path(target), start, duration), work, console))
        return
    with _writing(), coding.open_tokens(source) as tokens:
        codec = load(tokens.hello.codec)
        pipe = coding.SoundPipe(codec.sample_rate, raw=raw)
        damage = coding.decode(tokens, codec, start, duration, pipe.write, lambda _: None)
    if damage is not None:
        raise CommandError(f"{_named(source)} is decoded up to its damage: {damage}")


def info(
    source: Annotated[str, typer.Argument(metavar="IN", help="A file of tokens (.vwt), or -.")],
) -> None:
    """What is in a file of tokens, and whether it is whole.

    Reads all of it and checks every checksum; needs no codec and no weights. The
    exit status is 1 where it is cut short or damaged.

    [bold]Example[/]

        voicewire codec info talk.vwt
    """
    with server_packages(coding.EXTRAS), coding.open_tokens(source) as tokens:
        from voicewire.codecs import TokensError

        hello = tokens.hello
        seconds: Counter[int] = Counter()
        records = samples = bits = 0
        begins: float | None = None
        damage: str | None = None
        try:
            for record in tokens.records():
                piece = record.tokens
                begins = piece.start_s if begins is None else begins
                records, samples = records + 1, samples + piece.samples
                bits += piece.codes.size * piece.bits
                seconds[piece.codebooks] += piece.samples
        except TokensError as error:
            damage = str(error)
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    length_s = samples / hello.sample_rate
    table.add_row("codec", f"{hello.codec}, weights {hello.weights_sha256}")
    table.add_row(
        "sound",
        f"{length_s:.2f} s from {begins or 0.0:.2f} s on: {samples} samples at {hello.sample_rate} Hz",
    )
    table.add_row(
        "frames", f"{1000 / hello.frame_rate:g} ms, of up to {hello.codebooks} codes of {hello.bits} bits"
    )
    for codebooks, held in sorted(seconds.items()):
        rate = hello.frame_rate * codebooks * hello.bits / 1000
        table.add_row(
            "bitrate", f"{rate:g} kbps ({codebooks} codes per frame) for {held / hello.sample_rate:.2f} s"
        )
    if source != STDIN and length_s:
        size = Path(source).stat().st_size
        table.add_row("size", f"{size} bytes in {records} records: {8 * size / length_s / 1000:.2f} kbps")
    table.add_row("state", "whole" if damage is None else f"[red]damaged:[/] {damage}")
    Console().print(table, highlight=False)
    if damage is not None:
        raise typer.Exit(1)


def show() -> None:
    """Which codecs there are, and what they offer.

    A codec whose weights are not here yet is not fetched for this.

    [bold]Example[/]

        voicewire codec list
    """
    with server_packages(coding.EXTRAS):
        from voicewire.codecs import CodecError, at_hand, available, load, rates

        table = Table("codec", "sound", "frame", "kbps", box=None)
        for name in available():
            if not at_hand(name):
                table.add_row(name, "[dim]its weights come with its first use, or by --weights[/]")
                continue
            try:
                codec = load(name)
            except CodecError as error:
                table.add_row(name, Text(str(error)))
                continue
            offered = ", ".join(f"{rate:g}" for rate in rates(codec))
            sound = f"{codec.sample_rate} Hz" if codec.sounds else "words alone, no sound"
            table.add_row(name, sound, f"{1000 / codec.frame_rate:g} ms", offered)
    Console().print(table, highlight=False)


def _recordings(source: str, target: Path) -> list[Job]:
    """What is to be encoded, and to which file."""
    if source == STDIN or not Path(source).is_dir():
        return [Job(source, target, Recording(source, source, None).duration_s())]
    jobs = []
    for recording in find_recordings([source], target):
        if recording.results is not None:
            file = recording.results.with_name(recording.results.name + SUFFIX)
            jobs.append(Job(recording.path, file, recording.duration_s(), was_there=file.exists()))
    return jobs


def _token_files(source: str, target: Path, start_s: float, duration_s: float | None) -> list[Job]:
    """What is to be decoded, and to which file."""
    if source == STDIN or not Path(source).is_dir():
        return [Job(source, target, _length_s(source, start_s, duration_s))]
    files = sorted(Path(source).rglob(f"*{SUFFIX}"))
    if not files:
        raise CommandError(f"the folder {source} holds no tokens ({SUFFIX})")
    sounds = [target / file.relative_to(source).with_suffix(".wav") for file in files]
    return [
        Job(str(file), sound, _length_s(str(file), start_s, duration_s), was_there=sound.exists())
        for file, sound in zip(files, sounds, strict=True)
    ]


def _length_s(source: str, start_s: float, duration_s: float | None) -> float | None:
    """How much is to be decoded, where that is known beforehand."""
    if source == STDIN:
        return duration_s
    try:
        with coding.open_tokens(source) as tokens:
            samples = tokens.samples
            if samples is None:
                return duration_s
            rest_s = max(0.0, samples / tokens.hello.sample_rate - start_s)
            return rest_s if duration_s is None else min(duration_s, rest_s)
    except ClientError:
        return 0.0  # told when its turn comes


def _finish(batch: FileBatch) -> None:
    """Runs it, says what came of it, and ends with status 1 where a file could not be had whole."""
    batch.run()
    batch.print_summary()
    if batch.failures:
        raise typer.Exit(1)


def _named(source: str) -> str:
    return "standard input" if source == STDIN else source


@contextmanager
def _writing() -> Iterator[None]:
    """Whoever reads standard output may go away."""
    try:
        yield
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        # Python would flush once more when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError("the program that read standard output has ended") from error


def _write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
