"""A full server with a crowd before its doors: do those inside keep their delay, are the others refused at once?

    python -m benchmarks.crowd --data TAR... --json OUT [--seats 40] [--markdown docs/load.md]

A server with so many seats has them all taken by clients that speak at the pace of a microphone: once by
themselves, once with as many others outside, each of which asks for a session every second. A refusal's time is
from the client's first byte to the answer, TCP and handshake included; clients and server share the machine.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from benchmarks.caller_speech import as_pcm, speeches
from benchmarks.callers import SPREAD_S, Caller, call_all
from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import table_parser, wide_console
from benchmarks.percentiles import percentiles
from benchmarks.served import served

KNOCK_S = 1.0
_HEADINGS = (
    "inside", "outside", "committed, median s", "P95", "P99",
    "refused", "after, median ms", "P95", "P99",
)  # fmt: skip


class Outsider:
    """A client for whom there is no place, and who asks again and again.

    Attributes:
        refused_s: how long each refusal took.
        errors: whatever else came of it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.refused_s: list[float] = []
        self.errors: set[str] = set()

    async def knock(self, begin_s: float, seconds: float) -> None:
        """Once every KNOCK_S for `seconds`, from `begin_s` on."""
        await asyncio.sleep(begin_s)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            await self._ask(began)
            await asyncio.sleep(max(0.0, began + KNOCK_S - time.perf_counter()))

    async def _ask(self, began: float) -> None:
        try:
            async with connect(self._url, compression=None):
                self.errors.add("let in")
        except InvalidStatus as refusal:
            if refusal.response.status_code == 503:
                self.refused_s.append(time.perf_counter() - began)
            else:
                self.errors.add(str(refusal))
        except (WebSocketException, OSError, TimeoutError) as error:
            self.errors.add(str(error) or type(error).__name__)


async def gather(callers: Sequence[Caller], outsiders: Sequence[Outsider], seconds: float) -> None:
    """The callers take their seats, and speak for `seconds`; the others come when all are taken."""
    async with asyncio.TaskGroup() as group:
        group.create_task(call_all(callers, SPREAD_S, seconds))
        for number, outsider in enumerate(outsiders):
            begin_s = 2 * SPREAD_S + KNOCK_S * number / len(outsiders)
            group.create_task(outsider.knock(begin_s, seconds - KNOCK_S))


def run_step(url: str, callers: Sequence[Caller], outside: int, seconds: float) -> dict[str, Any]:
    """The figures of so many clients with a seat, and so many without."""
    outsiders = [Outsider(url) for _ in range(outside)]
    asyncio.run(gather(callers, outsiders, seconds))
    heard = [caller.heard for caller in callers]
    errors = {one.error for one in heard} | {error for one in outsiders for error in one.errors}
    return {
        "inside": len(callers),
        "outside": outside,
        "committed_s": percentiles([delay for one in heard for delay in one.committed_s]),
        "refused_ms": percentiles([1000 * taken for one in outsiders for taken in one.refused_s]),
        "errors": sorted(errors - {""}),
    }


def rows(steps: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A table's, below the headings."""
    for step in steps:
        committed, refused = step["committed_s"], step["refused_ms"]
        yield (
            str(step["inside"]),
            str(step["outside"]),
            *(_shown(committed[name], 2) for name in ("median", "p95", "p99")),
            str(refused["count"]),
            *(_shown(refused[name], 0) for name in ("median", "p95", "p99")),
        )


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = table_parser("crowd", __doc__)
    parser.add_argument("--seats", type=int, default=40, help="of the server; default %(default)s")
    parser.add_argument("--seconds", type=float, default=30.0, help="that count, a step; default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    spoken = [as_pcm(stream) for stream in speeches(args.data, args.seats)]
    steps = []
    for outside in (0, args.seats):
        # A server each: one keeps the seats of clients that are gone for a while, that they may come back.
        with served(["--max-sessions", str(args.seats)]) as address:
            url = f"{address}/v1/stream"
            callers = [Caller(url, speech, {}) for speech in spoken]
            steps.append(run_step(url, callers, outside, args.seconds))
    table = Table(*_HEADINGS, title="A full server")
    for row in rows(steps):
        table.add_row(*row)
    wide_console().print(table)
    for error in (error for step in steps for error in step["errors"]):
        wide_console().print(f"error: {error}")
    machine = this_machine()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({"machine": asdict(machine), "steps": steps}, indent=2) + "\n")
    if args.markdown:
        replace_section(
            args.markdown, "crowd", f"{markdown_table(_HEADINGS, rows(steps), left=0)}\n\n{machine}\n"
        )


if __name__ == "__main__":
    main()
