"""How many live streams a server carries: real clients over real sockets, each at the pace of a microphone.

A server is started in a process of its own; so many clients as --clients says, one step after another, speak to
it with speech of their own, begun at different moments. A step counts as carried where nobody was refused or cut
off and 95 of 100 words were committed within --limit seconds of their end. The clients share the machine with the
server; how much of it they take, and how late they are themselves, stands beside the delays.

--peer faster-whisper-local-agreement sends the same speech to LocalAgreement-2 on faster-whisper
(agreement_server.py), in the same run, for a ratio. Its policy alone takes two steps of a second for a word, so it
may take --peer-limit seconds. --peer whisperlivekit sends it to WhisperLiveKit's own server, as its package comes,
in an environment of its own (whisperlivekit_server.py); its default policy is SimulStreaming.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.agreement_server import agreement_served
from benchmarks.caller_speech import as_pcm, references, speeches
from benchmarks.callers import SPREAD_S, Caller, Heard, call_all
from benchmarks.load_plot import plot_load
from benchmarks.long_stream import LongStream
from benchmarks.machine import Machine, this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import table_parser, wide_console
from benchmarks.percentiles import percentiles
from benchmarks.served import process_at, served
from benchmarks.whisperlivekit_caller import LinesCaller
from benchmarks.whisperlivekit_server import whisperlivekit_python, whisperlivekit_served

VOICEWIRE = "voicewire"
WHISPERLIVEKIT = {"whisperlivekit": "simulstreaming", "whisperlivekit-local-agreement": "localagreement"}
PEERS = ("faster-whisper-local-agreement", *WHISPERLIVEKIT)
_HEADINGS = (
    "server", "clients", "carried", "committed, median s", "P95", "P99", "shown, median s", "P95",
    "behind, ms", "server, cores", "clients, cores", "late, ms", "memory, MiB",
)  # fmt: skip


def run_step(
    callers: Sequence[Caller], server: psutil.Process, args: argparse.Namespace, limit_s: float
) -> dict[str, Any]:
    """The figures of one number of clients."""
    before, own_before, began = _busy_s(server), time.process_time(), time.perf_counter()
    asyncio.run(call_all(callers, args.warm_up, args.seconds))
    took_s = time.perf_counter() - began
    heard = [caller.heard for caller in callers]
    figures = _figures(heard, limit_s)
    figures |= {
        "server_cores": round((_busy_s(server) - before) / took_s, 2),
        "client_cores": round((time.process_time() - own_before) / took_s, 2),
        "memory_mib": round(sum(process.memory_info().rss for process in _family(server)) / 2**20),
    }
    return figures


def _figures(heard: Sequence[Heard], limit_s: float) -> dict[str, Any]:
    committed = percentiles([delay for one in heard for delay in one.committed_s])
    errors = sorted({one.error for one in heard if one.error})
    refused = sum(one.refused for one in heard)
    in_time = committed["p95"] is not None and committed["p95"] <= limit_s
    return {
        "clients": len(heard),
        "carried": in_time and not errors and not refused,
        "refused": refused,
        "errors": errors,
        "committed_s": committed,
        "shown_s": percentiles([delay for one in heard for delay in one.shown_s]),
        "buffered_ms": percentiles([value for one in heard for value in one.buffered_ms]),
        "late_ms": percentiles([1000 * late for one in heard for late in one.late_s]),
    }


def _family(server: psutil.Process) -> list[psutil.Process]:
    """The server's process and those of its recognisers."""
    return [server, *server.children(recursive=True)]


def _busy_s(server: psutil.Process) -> float:
    """Processor time that it has taken so far."""
    times = [process.cpu_times() for process in _family(server)]
    return float(sum(each.user + each.system for each in times))


@contextmanager
def _running(name: str, args: argparse.Namespace, most: int) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server, and its process."""
    if name == VOICEWIRE:
        options = ["--threads", str(args.threads)] if args.threads else []
        with served(["--max-sessions", str(most), *options]) as url:
            yield f"{url}/v1/stream", process_at(url)
        return
    threads = args.threads or len(os.sched_getaffinity(0))
    policy = WHISPERLIVEKIT.get(name)
    with whisperlivekit_served(policy, threads) if policy else agreement_served(threads) as url:
        yield url, process_at(url)


def _callers(name: str, url: str, streams: Sequence[LongStream], args: argparse.Namespace) -> list[Caller]:
    """A client for each stream."""
    if name in WHISPERLIVEKIT:
        kept = args.json.with_suffix(".transcripts.jsonl")
        said = references(streams, args.data, args.warm_up + args.seconds + SPREAD_S, kept)
        return [LinesCaller(url, as_pcm(own), words) for own, words in zip(streams, said, strict=True)]
    settings = {"chunk_ms": args.chunk, "commit_ms": args.commit}
    return [Caller(url, as_pcm(own), settings) for own in streams]


def run_server(name: str, args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    """Step after step, until one is not carried."""
    own = name == VOICEWIRE
    counts = [int(one) for one in (args.clients if own else args.peer_clients).split(",")]
    limit_s = args.limit if own else args.peer_limit
    streams = speeches(args.data, max(counts))
    steps: list[dict[str, Any]] = []
    with _running(name, args, max(counts)) as (url, process):
        for count in counts:
            callers = _callers(name, url, streams[:count], args)
            step = {"server": name} | run_step(callers, process, args, limit_s)
            steps.append(step)
            console.print(*_row(step), sep="  ")
            if not step["carried"] and not args.beyond:
                break
    return steps


def sustained(steps: Sequence[dict[str, Any]], name: str) -> int:
    """The most clients that the server carried."""
    return max((step["clients"] for step in steps if step["server"] == name and step["carried"]), default=0)


def _row(step: dict[str, Any]) -> list[str]:
    def show(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    committed, shown = step["committed_s"], step["shown_s"]
    return [
        step["server"],
        str(step["clients"]),
        "yes" if step["carried"] else "no",
        *(show(committed[name]) for name in ("median", "p95", "p99")),
        *(show(shown[name]) for name in ("median", "p95")),
        show(step["buffered_ms"]["median"], 0),
        show(step["server_cores"]),
        show(step["client_cores"]),
        show(step["late_ms"]["p95"], 0),
        str(step["memory_mib"]),
    ]


def report(steps: Sequence[dict[str, Any]], args: argparse.Namespace, machine: Machine) -> str:
    """The table and what follows from it, as Markdown."""
    lines = [markdown_table(_HEADINGS, map(_row, steps), left=1), ""]
    best = {name: sustained(steps, name) for name in dict.fromkeys(step["server"] for step in steps)}
    said = "; ".join(f"{name} carries {count}" for name, count in best.items())
    lines.append(f"Of the steps tried, {said}.")
    lines.append(f"Ticks of {args.chunk} ms, commits of {args.commit} ms, {args.seconds:g} s a step.")
    lines.append(f"{machine}\n")
    return "\n".join(lines)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = table_parser("load", __doc__)
    parser.add_argument("--section", default="load", help="the markers' name there; default %(default)s")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw delay against clients")
    parser.add_argument("--clients", default="8,16,24,32,40,48", help="steps; default %(default)s")
    parser.add_argument("--seconds", type=float, default=30.0, help="that count, a step; default %(default)s")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before; default %(default)s")
    parser.add_argument("--limit", type=float, default=2.0, help="P95 of the delay, s; default %(default)s")
    parser.add_argument(
        "--beyond", action="store_true", help="go on after the first step that is not carried"
    )
    parser.add_argument("--peer-limit", type=float, default=5.0, help="the peer's; default %(default)s")
    parser.add_argument("--peer-clients", default="1,2,3,4,6,8", help="its steps; default %(default)s")
    parser.add_argument("--chunk", type=int, default=300, help="ms; default %(default)s")
    parser.add_argument("--commit", type=int, default=1200, help="ms; default %(default)s")
    parser.add_argument("--threads", type=int, help="of the servers; default: one for each core")
    parser.add_argument("--peer", action="append", choices=PEERS, default=[], help="play to it as well")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    if WHISPERLIVEKIT.keys() & args.peer:
        whisperlivekit_python()
    console = wide_console()
    steps = [step for name in (VOICEWIRE, *args.peer) for step in run_server(name, args, console)]
    table = Table(*_HEADINGS, title="Live streams at a time")
    for step in steps:
        table.add_row(*_row(step))
    console.print(table)
    machine = this_machine()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({"machine": asdict(machine), "steps": steps}, indent=2) + "\n")
    if args.markdown:
        replace_section(args.markdown, args.section, report(steps, args, machine))
    if args.plot:
        plot_load(steps, args.limit, args.plot)


if __name__ == "__main__":
    main()
