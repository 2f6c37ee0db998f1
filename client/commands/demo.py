"""`voicewire demo`: the whole way once, on this machine: a real server, real speech, and every word's delay."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import soundfile
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voicewire.client.audio_files import open_audio
from voicewire.client.captions import LiveView, LogView
from voicewire.client.commands.caption import CaptionSession
from voicewire.client.commands.options import (
    AdapterOption,
    ChunkOption,
    CommitOption,
    DeviceOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
)
from voicewire.client.commands.serve import load_settings
from voicewire.client.delays import Spread, WordDelay
from voicewire.client.errors import CommandError
from voicewire.client.local import server_packages
from voicewire.client.playback import Playback

CLIP = "art-of-printing"


def demo(
    speed: Annotated[
        float, typer.Option(min=0.1, max=20.0, help="Pace at which the clip is played; 1 is that of speech.")
    ] = 1.0,
    model: ModelOption = "base",
    adapter: AdapterOption = "default",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    threads: ThreadsOption = None,
    chunk_ms: ChunkOption = None,
    commit_ms: CommitOption = None,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the clip to this WAV file, and do no more.")
    ] = None,
) -> None:
    """Serve and caption a clip of real speech, and show each word's delay.

    The clip goes through the real client to a real server, in pieces of 100 ms,
    at the pace of speech: 24 s of a public-domain reading of William Morris on
    the art of printing.

    [bold]Examples[/]

        voicewire demo
        voicewire demo --chunk-ms 100 --commit-ms 600
        voicewire demo --save talk.wav                     # something to try the other commands on
    """
    console = Console()
    clips = files("voicewire.client") / "clips"
    if save is not None:
        with as_file(clips / f"{CLIP}.opus") as path:
            write_wav(path, save)
        console.print(f"{save}: 24 s of speech", highlight=False)
        return
    flags = {
        "host": "127.0.0.1",
        "model": model,
        "adapter": adapter,
        "device": device,
        "precision": precision,
        "threads": threads,
        "max_sessions": 1,
    }
    with ExitStack() as stack:
        path = stack.enter_context(as_file(clips / f"{CLIP}.opus"))
        with console.status(f"loading Whisper {model}"):
            url = stack.enter_context(running(flags))
        console.print(f"A server listens at [bold]{url}[/]; the clip is playing.\n", highlight=False)
        playback = Playback(open_audio(path), speed=speed)
        session = CaptionSession(playback, LiveView(console) if console.is_terminal else LogView(console))
        asyncio.run(session.run(url, chunk_ms=chunk_ms, commit_ms=commit_ms))
    words = session.delays.words
    if not words:
        raise CommandError("no words came: `voicewire doctor` may tell why")
    console.print(
        f"\n[dim]What was said:[/] {(clips / f'{CLIP}.txt').read_text('utf-8').strip()}\n", highlight=False
    )
    console.print(word_table(words))
    console.print(summary_table(words))


def write_wav(recording: Path, target: Path) -> None:
    """A recording as a WAV file of 16 bits, at its own rate. Raises CommandError where it cannot be written."""
    samples, rate = soundfile.read(recording, dtype="int16")
    try:
        soundfile.write(target, samples, rate, format="WAV")
    except soundfile.LibsndfileError as error:
        raise CommandError(f"{target} cannot be written: {error.error_string}") from error


@contextmanager
def running(flags: dict[str, Any]) -> Iterator[str]:
    """A server in this process on a free port, for as long as the block lasts; gives its URL."""
    with server_packages():
        from voicewire.streaming.server import running_server

        with running_server(load_settings(flags)) as server:
            yield server.url


def word_table(words: Sequence[WordDelay]) -> Table:
    """Each word with its time in the audio and its delays."""
    table = Table(title="Delay of each word, from its end in the audio", title_justify="left", box=None)
    table.add_column("word")
    for title in ("spoken", "shown after", "settled after", "probability"):
        table.add_column(title, justify="right")
    for word in words:
        table.add_row(
            Text(word.text),
            f"{word.start_s:.2f}-{word.end_s:.2f} s",
            f"{word.shown_s:.2f} s",
            f"{word.settled_s:.2f} s",
            f"{word.probability:.2f}",
        )
    return table


def summary_table(words: Sequence[WordDelay]) -> Table:
    """Median and the worst of all words."""
    table = Table(title=f"\n{len(words)} words", title_justify="left", box=None)
    table.add_column("")
    for title in ("median", "P95", "longest"):
        table.add_column(title, justify="right")
    delays = {
        "first shown, in the tail or settled": [word.shown_s for word in words],
        "settled, never to change": [word.settled_s for word in words],
    }
    for name, seconds in delays.items():
        spread = Spread.of(seconds)
        table.add_row(
            name, *(f"{value:.2f} s" for value in (spread.median_s, spread.p95_s, spread.longest_s))
        )
    return table
