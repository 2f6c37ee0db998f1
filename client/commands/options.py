"""Options that several commands share."""

from typing import Annotated

import typer

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
SpeedOption = Annotated[
    float,
    typer.Option(min=0.0, help="Pace of a file: 1 is that of speech, 0 as fast as the server takes it."),
]
