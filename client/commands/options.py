"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from voicewire.client.errors import CommandError

ModelOption = Annotated[
    str, typer.Option(help="Whisper model: tiny, base, small, ..., or the path of one.", show_default=True)
]
AdapterOption = Annotated[
    str, typer.Option(help="Adapter that makes it causal: default, none, or a path.", show_default=True)
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.", show_default=True)]
PrecisionOption = Annotated[
    str, typer.Option(help="auto (measured at the start), float32 or bfloat16.", show_default=True)
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads of the arithmetic; left out, as many as torch takes.")
]
LanguageOption = Annotated[
    str, typer.Option(help="What is spoken, as Whisper's code for it.", show_default=True)
]
UrlOption = Annotated[
    str, typer.Option(envvar="VOICEWIRE_URL", help="The server: ws://HOST:PORT, wss://HOST, or HOST:PORT.")
]
ApiKeyOption = Annotated[
    str | None, typer.Option(envvar="VOICEWIRE_API_KEY", help="For a server that asks for a key.")
]
ChunkOption = Annotated[
    int | None,
    typer.Option(
        min=100, max=300, help="How often new audio is looked at, in ms. Left out: the server's own."
    ),
]
CommitOption = Annotated[
    int | None,
    typer.Option(
        min=100,
        max=1200,
        help="Length of a block whose words are settled, in ms: longer is more accurate and later.",
    ),
]
EndpointOption = Annotated[
    int,
    typer.Option(min=200, max=10_000, help="A pause so long ends an utterance, in ms.", show_default=True),
]
KeytermOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keyterm",
        metavar="NAME",
        help="A name or term that is likely to be said (streams only); repeatable.",
    ),
]
KeytermsOption = Annotated[
    Path | None,
    typer.Option("--keyterms", exists=True, dir_okay=False, help="A file of them, one in a line."),
]
SpeedOption = Annotated[
    float,
    typer.Option(min=0.0, help="Pace of a file: 1 is that of speech, 0 as fast as the server takes it."),
]


def keyterms_of(named: list[str] | None, listed: Path | None) -> tuple[str, ...]:
    """What both options name together. Raises CommandError for a file that is no text."""
    try:
        lines = listed.read_text(encoding="utf-8").splitlines() if listed is not None else []
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--keyterms {listed}: {error}") from error
    terms = (" ".join(term.split()) for term in [*(named or ()), *lines])
    return tuple(dict.fromkeys(term for term in terms if term))
