"""`voicewire keys`: API keys for a server, kept in a file as their hashes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from voicewire.client.errors import CommandError
from voicewire.client.local import server_packages

FileOption = Annotated[
    Path,
    typer.Option(
        envvar="VOICEWIRE_API_KEYS",
        dir_okay=False,
        help="The file of keys; a server reads it with --api-keys.",
    ),
]
DEFAULT_FILE = Path("voicewire-keys.toml")


def add(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, - and _.")],
    file: FileOption = DEFAULT_FILE,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="Sessions that it may have at one time.  [default: no limit]")
    ] = None,
    audio_per_minute: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds of audio that it may send in a minute.  [default: no limit]"),
    ] = None,
) -> None:
    """Make a key and print it, this once. A server that runs knows it at once.

    [bold]Examples[/]

        voicewire keys add newsroom
        voicewire keys add newsroom --sessions 4 --audio-per-minute 240
        voicewire serve --api-keys voicewire-keys.toml
        VOICEWIRE_API_KEY=vw_... voicewire caption mic
    """
    with server_packages():
        from voicewire.streaming.key_file import Key, hashed, new_key, read_keys, write_keys

        keys = read_keys(file) if file.exists() else {}
        if name in keys:
            raise CommandError(
                f"{file} has a key {name}: choose another name, or `voicewire keys remove {name}`"
            )
        key = new_key()
        entry = Key(sha256=hashed(key), sessions=sessions, audio_s_per_minute=audio_per_minute)
        write_keys(file, keys | {name: entry})
    Console(stderr=True).print(f"{name}'s key; it is kept nowhere and cannot be shown again:", style="dim")
    typer.echo(key)


def remove(
    name: Annotated[str, typer.Argument(help="Whose key is to be good no longer.")],
    file: FileOption = DEFAULT_FILE,
) -> None:
    """Take a key away: new sessions are refused from now on, those that run go on.

    [bold]Examples[/]

        voicewire keys remove newsroom
    """
    with server_packages():
        from voicewire.streaming.key_file import read_keys, write_keys

        keys = read_keys(file)
        if name not in keys:
            raise CommandError(f"{file} has no key {name}: it has {', '.join(sorted(keys)) or 'none'}")
        write_keys(file, {other: key for other, key in keys.items() if other != name})


def show(file: FileOption = DEFAULT_FILE) -> None:
    """List whose keys there are, and what each may take. The keys themselves are not kept.

    [bold]Examples[/]

        voicewire keys list
    """
    with server_packages():
        from voicewire.streaming.key_file import read_keys

        keys = read_keys(file)
    table = Table("name", "sessions at once", "audio per minute", box=None)
    for name, key in keys.items():
        audio = "no limit" if key.audio_s_per_minute is None else f"{key.audio_s_per_minute:g} s"
        table.add_row(name, str(key.sessions or "no limit"), audio)
    Console().print(table)
