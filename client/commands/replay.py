"""`voicewire replay`: plays a recorded session again, and says whether its words come out the same."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from voicewire.client.local import server_packages

DIFFERS = 3  # exit status


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What voicewire serve --record wrote.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Play what there is of a file whose end is missing.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Another model than the recorded one, or its place.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Likewise the adapter.")] = None,
    precision: Annotated[str | None, typer.Option(help="Likewise: float32 or bfloat16.")] = None,
    device: Annotated[str | None, typer.Option(help="Likewise: cpu or cuda.")] = None,
) -> None:
    """Play a recorded session again, through the same engine, and compare its words.

    Exit status 0 says that every word, time and utterance is the same, 3 that
    something is not: the first difference is shown.

    [bold]Examples[/]

        voicewire serve --record sessions
        voicewire replay sessions/20261123T101500-de5fda3794d37665.jsonl
    """
    console = Console(soft_wrap=True, highlight=False)
    with server_packages():
        from voicewire.streaming.engine import Engine
        from voicewire.streaming.replay import recorded_settings
        from voicewire.streaming.replay import replay as play
        from voicewire.streaming.tape import read_tape

        head, lines = read_tape(file, partial=partial)
        settings = recorded_settings(head, model=model, adapter=adapter, precision=precision, device=device)
        engine = Engine.from_settings(settings)
        engine.start()
        try:
            engine.wait_ready()
            if engine.identity != head.identity:
                console.print("recorded with another model, adapter or precision: words may differ")
            outcome = play(engine, settings, lines)
        finally:
            engine.stop()
    if outcome.difference is None:
        end = "" if outcome.whole else ", as far as the recording goes"
        console.print(f"identical: {outcome.words} words, {len(outcome.recorded)} items{end}")
        return
    recorded, replayed = outcome.difference
    console.print(f"different\nrecorded: {_shown(recorded)}\nreplayed: {_shown(replayed)}", markup=False)
    raise typer.Exit(DIFFERS)


def _shown(item: tuple[Any, ...] | None) -> str:
    return "nothing" if item is None else " ".join(map(str, item))[:500]
