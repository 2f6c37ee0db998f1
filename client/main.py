"""The command `voicewire`: its commands put together, and errors told in one line instead of a traceback."""

import functools
import importlib.metadata
import os
from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console

from voicewire.client.commands.caption import caption
from voicewire.client.commands.codec import decode, encode, info, show
from voicewire.client.commands.demo import demo
from voicewire.client.commands.doctor import doctor
from voicewire.client.commands.keys import add, remove
from voicewire.client.commands.keys import show as show_keys
from voicewire.client.commands.replay import replay
from voicewire.client.commands.serve import serve
from voicewire.client.commands.train import export, fit, prepare
from voicewire.client.commands.transcribe import transcribe
from voicewire.client.errors import ClientError

# OpenMP's idle threads spin by default and take the cores from whatever runs beside them: here the event loop, and
# in the demo the client. Only heard before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

app = typer.Typer(
    name="voicewire",
    help="Speech to timed words, while the speaker is still talking.",
    epilog="Start with: voicewire demo. Every command has examples: voicewire COMMAND --help.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def told(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The command, with its user's errors told on standard error and exit status 1."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except ClientError as error:
            Console(stderr=True, soft_wrap=True).print(
                f"[bold red]error:[/] {_plain(str(error))}", highlight=False
            )
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


def _plain(text: str) -> str:
    """Text in which brackets are no markup."""
    return text.replace("[", r"\[")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"voicewire {importlib.metadata.version('voicewire')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Speech to timed words, while the speaker is still talking."""


for command in (serve, caption, transcribe, demo, doctor, replay):
    app.command(command.__name__)(told(command))

training = typer.Typer(
    help="Train an adapter: prepare recordings, fit, export.", no_args_is_help=True, rich_markup_mode="rich"
)
for part in (prepare, fit, export):
    training.command(part.__name__)(told(part))
app.add_typer(training, name="train")

coding = typer.Typer(
    help="Recordings to codec tokens and back.", no_args_is_help=True, rich_markup_mode="rich"
)
coding.command("encode")(told(encode))
coding.command("decode")(told(decode))
coding.command("info")(told(info))
coding.command("list")(told(show))
app.add_typer(coding, name="codec")

keys = typer.Typer(
    help="API keys of a server: who may use it, and how much.", no_args_is_help=True, rich_markup_mode="rich"
)
keys.command("add")(told(add))
keys.command("remove")(told(remove))
keys.command("list")(told(show_keys))
app.add_typer(keys, name="keys")

if __name__ == "__main__":
    app()
