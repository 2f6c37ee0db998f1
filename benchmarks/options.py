"""What every benchmark can be told on its command line, and where it writes its tables."""

import argparse
from pathlib import Path

from rich.console import Console

from voicewire.asr.settings import StreamSettings


def parse_settings(text: str, beam: int = 1) -> list[StreamSettings]:
    """`300:1200,300:300`, chunk and commit in ms, as settings. Raises SettingsError and ValueError."""
    pairs = [pair.split(":") for pair in text.split(",")]
    return [StreamSettings(chunk_ms=int(chunk), commit_ms=int(commit), beam=beam) for chunk, commit in pairs]


def speech_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark must be told: which speech, and where its figures go."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", nargs="+", type=Path, required=True, metavar="TAR", help="pairs of KEY.opus and KEY.json"
    )
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    return parser


def table_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """For benchmarks whose table stands in a document."""
    parser = speech_parser(name, description)
    parser.add_argument("--markdown", type=Path, help="write the table between this file's markers too")
    return parser


def benchmark_parser(
    name: str, description: str | None, settings: str, threads: int | None
) -> argparse.ArgumentParser:
    """For benchmarks of the recogniser; `settings` and `threads` are the defaults of two options."""
    parser = speech_parser(name, description)
    parser.add_argument(
        "--settings", default=settings, metavar="CHUNK:COMMIT,...", help="in ms; default %(default)s"
    )
    parser.add_argument("--model", default="base", help="a Whisper model's name or path; default %(default)s")
    parser.add_argument("--adapter", default="default", help="default, none, or the path of a candidate")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--threads", type=int, default=threads, help="of the arithmetic; default %(default)s")
    return parser


def add_limit(parser: argparse.ArgumentParser) -> None:
    """For benchmarks that go clip by clip."""
    parser.add_argument("--limit", type=int, metavar="N", help="N clips of each tar, always the same ones")


def wide_console() -> Console:
    """The terminal; wide enough for any table where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
