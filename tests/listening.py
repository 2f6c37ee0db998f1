"""A session's listener at the engine, for tests of engine and desks."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from voicewire.asr.events import Flushed, Transcript
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.commands import Failed, OpenStream, Progress, Report
from voicewire.streaming.engine import Engine, Seat


@dataclass
class Listener:
    """Takes the reports of one seat."""

    reports: list[Report] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    seat: Seat | None = None

    def __call__(self, report: Report) -> None:
        self.reports.append(report)
        self.threads.add(threading.get_ident())

    def open(self, engine: Engine, settings: StreamSettings | None = None) -> "Listener":
        self.seat = engine.reserve(self)
        assert self.seat is not None
        self.seat.send(OpenStream(settings or StreamSettings()))
        return self

    async def until(self, wanted: Callable[[], bool], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not wanted():
            assert time.monotonic() < deadline, self.reports
            await asyncio.sleep(0.005)

    async def failure(self) -> Failed:
        await self.until(lambda: bool(self.reports) and isinstance(self.reports[-1], Failed))
        failed = self.reports[-1]
        assert isinstance(failed, Failed)
        return failed

    def events(self) -> list[object]:
        return [event for report in self.reports if isinstance(report, Progress) for event in report.events]

    def text(self) -> str:
        return "".join(
            word.text for event in self.events() if isinstance(event, Transcript) for word in event.words
        )

    def flushed(self, tag: str) -> bool:
        return any(isinstance(event, Flushed) and event.tag == tag for event in self.events())


async def seats_free(engine: Engine, in_use: int = 0, within_s: float = 5.0) -> None:
    await Listener().until(lambda: engine.seats_in_use == in_use, within_s)
