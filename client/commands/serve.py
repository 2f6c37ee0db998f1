"""`voicewire serve`: runs the server."""

import logging
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from voicewire.client.errors import CommandError
from voicewire.client.local import server_packages

PAGE = Path(__file__).resolve().parents[1] / "web"


class LogLevel(StrEnum):
    """How much the log says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 0.0.0.0 is every interface.  [default: 127.0.0.1]"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.  [default: 8765]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of this server among several, for the proxy before them.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Whisper model, or the path of one.  [default: base]")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Adapter that makes it causal: default, none, or a path.")
    ] = None,
    chunk_ms: Annotated[
        int | None,
        typer.Option(min=100, max=300, help="How often a session looks, if it does not say.  [default: 300]"),
    ] = None,
    commit_ms: Annotated[
        int | None,
        typer.Option(min=100, max=1200, help="A session's block, if it does not say.  [default: 1200]"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (measured at the start), float32 or bfloat16.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processors that share the sessions; every one of the machine where not given."
        ),
    ] = None,
    max_sessions: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Sessions at one time; auto measures what the machine carries.  [default: 8]",
        ),
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            help="A codec for tokens; may be repeated.  [default: lyra_v2, if its weights are in the cache]"
        ),
    ] = None,
    wyoming: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="A port for Home Assistant (Wyoming), usually 10300."),
    ] = None,
    vosk: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="A port for clients of Vosk, usually 2700.")
    ] = None,
    page: Annotated[
        bool | None, typer.Option("--page/--no-page", help="The captions page at /.  [default: page]")
    ] = None,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of the keys that clients need one of; see voicewire keys.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may come in, besides the server's own; may be repeated."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate and chain, PEM: speak TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None,
    handover: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Leave sessions here when told to stop, and take up those that are there."
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep every session in this folder, speech and words, for voicewire replay."
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting by its name, such as idle_s=60; may be repeated."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN-MAX",
            help="Replicas on a cluster of Ray's: that of RAY_ADDRESS, or one that runs here, or a new one.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="VOICEWIRE_CONFIG", help="TOML file of settings; those given here win.", dir_okay=False
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting in force as TOML, and end.")
    ] = False,
    log_level: Annotated[LogLevel, typer.Option(help="How much the log says.")] = LogLevel.INFO,
) -> None:
    """Run the server: audio in over a websocket, timed words out; captions in the browser at /.

    Every setting can also come from the environment (VOICEWIRE_PORT=9000) or
    from a TOML file; what is given here wins. Who reaches the port may use it,
    unless --api-keys names those who may.

    [bold]Examples[/]

        voicewire serve
        voicewire serve --port 9000 --max-sessions 16
        voicewire serve --chunk-ms 100 --commit-ms 600     [dim]# sooner, less accurate[/]
        voicewire serve --codec lyra_v2 --codec encodec_24khz
        voicewire serve --config voicewire.toml --log-level warning
        voicewire serve --ray 2-8 --max-sessions 24        [dim]# two replicas to eight, on Ray[/]
        voicewire serve --set idle_s=60 --print-config     [dim]# a file to begin with[/]
    """
    flags = {
        "host": host,
        "port": port,
        "name": name,
        "model": model,
        "adapter": adapter,
        "chunk_ms": chunk_ms,
        "commit_ms": commit_ms,
        "device": device,
        "precision": precision,
        "threads": threads,
        "max_sessions": max_sessions,
        "codecs": codec or None,
        "vosk": vosk,
        "wyoming": wyoming,
        "page": page,
        "api_keys": api_keys,
        "allow_origins": allow_origin or None,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "handover": handover,
        "record": record,
    }
    with server_packages():
        from voicewire.streaming import server

        given = {name: value for name, value in flags.items() if value is not None}
        settings = load_settings(_by_name(others or ()) | given, config)
        if print_config:
            typer.echo(settings.as_toml(), nl=False)
            return
        if ray is not None:
            _serve_on_ray(settings, ray)
            return
        try:
            server.serve(settings, page=PAGE, log_level=getattr(logging, log_level.upper()))
        except OSError as error:
            raise CommandError(
                f"cannot listen on {error.filename} ({error.strerror or error}): choose another port, or end what "
                "listens there"
            ) from error


def _serve_on_ray(settings: Any, replicas: str) -> None:
    with server_packages("server,weights,ray"):
        from voicewire.streaming import ray_serve

    ray_serve.run(settings, ray_serve.Replicas.parse(replicas), PAGE)


def _by_name(assignments: Iterable[str]) -> dict[str, Any]:
    pairs = [assignment.partition("=") for assignment in assignments]
    for name, equals, _ in pairs:
        if not equals:
            raise CommandError(f"--set {name}: write a setting's name, = and its value, such as idle_s=60")
    return {name.strip(): value.strip() for name, _, value in pairs}


def load_settings(flags: dict[str, Any], config: Path | None = None) -> Any:
    """The server's settings: flags that are not None, then the environment, then the file.

    Raises CommandError, which names every value that is wrong.
    """
    from voicewire.streaming.settings import ServerSettings

    try:
        return ServerSettings.load(config, **flags)
    except FileNotFoundError as error:
        raise CommandError(str(error)) from error
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise CommandError("settings that cannot be: " + "; ".join(problems)) from error
