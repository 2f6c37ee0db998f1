"""`voicewire doctor`: what this machine has and lacks."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voicewire.client.address import DEFAULT_URL, Address
from voicewire.client.commands.options import AdapterOption, ModelOption
from voicewire.client.diagnosis import Check, Status, as_json, diagnose

STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="VOICEWIRE_URL",
            help=f"A server that should be running.  [default: {DEFAULT_URL}, if one is]",
        ),
    ] = None,
    model: ModelOption = "base",
    adapter: AdapterOption = "default",
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Check this machine: packages, weights, precision, microphone, server.

    The exit status is 1 where something that is installed does not work. What
    is not needed by everyone, such as a microphone, is only a warning.

    [bold]Examples[/]

        voicewire doctor
        voicewire doctor --url ws://captions.example:8765
        voicewire doctor --json | jq '.checks[] | select(.status != "ok")'
    """
    address = Address.parse(url or DEFAULT_URL)
    with Console(stderr=True).status("looking"):
        checks = list(diagnose(address, expects_server=url is not None, model=model, adapter=adapter))
    if json:
        typer.echo(as_json(checks))
    else:
        Console().print(_table(checks))
    if any(check.status is Status.FAIL for check in checks):
        raise typer.Exit(1)


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("", "part", "what was found"):
        table.add_column(title)
    for check in checks:
        found = Text(check.detail)
        if check.advice:
            found.append(f"\n{check.advice}", style="italic")
        table.add_row(Text(check.status, style=STYLES[check.status]), check.name, found)
    return table
