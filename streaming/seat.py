"""A session's place in the service, from the handshake on: where its commands go, and its reports come back."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from voicewire.asr.settings import SAMPLE_RATE
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    OpenStream,
    Refine,
    Report,
    SetEffort,
    SnapshotStream,
    StreamState,
)
from voicewire.streaming.logs import get_logger
from voicewire.streaming.pace import Pace

log = get_logger(__name__)


class Desk(Protocol):
    """A thread that does what sessions ask of it: the recogniser's, the codecs', or the refiner's."""

    def submit(self, seat: "Seat", command: Command) -> None:
        """Queues a command, and returns at once."""


@dataclass(eq=False)
class Seat:
    """One session's place; `Engine.reserve` gives it.

    Its methods are for the event loop that reserved it, and return at once.

    Attributes:
        recogniser, codecs: who makes the words, and who the tokens.
        refiner: who has speech heard once more; None where nobody does.
        loop: the event loop of the session.
        receive: called there for each report.
    """

    recogniser: Desk
    codecs: Desk
    loop: asyncio.AbstractEventLoop
    receive: Callable[[Report], None]
    refiner: Desk | None = None
    stream: OpenStream | None = None
    # What follows belongs to the recogniser's thread.
    slot: int | None = None
    pushed_samples: int = 0
    processed_samples: int = 0
    over: bool = False
    pace: Pace = field(default_factory=Pace)
    prescribed: list[SetEffort] = field(default_factory=list)

    def send(self, command: Command) -> None:
        """Hands a command to whom it concerns; after a CloseStream or a Failed nothing has an effect."""
        if isinstance(command, OpenStream):
            self.stream = command
        stream = self.stream
        if isinstance(command, Refine):
            if self.refiner is not None:
                self.refiner.submit(self, command)
            return
        if stream is None or isinstance(command, CloseStream | SetEffort | SnapshotStream):
            # The engine tells the codecs that a seat is free, before anybody else can have it.
            self.recogniser.submit(self, command)
            return
        # Audio that comes as tokens reaches the recogniser through the codec, and with it what is said of it.
        through_codec = stream.takes_tokens and command is not stream
        if stream.settings is not None and not through_codec:
            self.recogniser.submit(self, command)
        if stream.tokens is not None or stream.takes_tokens:
            self.codecs.submit(self, command)

    def go_on(self, state: StreamState) -> None:
        """The stream was begun in another process."""
        self.pushed_samples, self.processed_samples = state.pushed_samples, state.processed_samples
        self.pace = Pace(state.pushed_samples / SAMPLE_RATE)

    def give_back(self) -> None:
        """Frees the seat. May be called at any time, and twice."""
        self.send(CloseStream())


def deliver(reports: Iterable[tuple[Seat, Report]]) -> None:
    """Hands reports over to the event loops of their sessions, one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Seat, Report]]] = defaultdict(list)
    for seat, report in reports:
        by_loop[seat.loop].append((seat, report))
    for loop, of_loop in by_loop.items():
        # A loop that is closed has no sessions that could want their reports.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_receive, of_loop)


def _receive(reports: list[tuple[Seat, Report]]) -> None:
    for seat, report in reports:
        try:
            seat.receive(report)
        except Exception:
            log.exception("report_not_taken")
