"""What makes words and tokens of what sessions send: desks with a recogniser each, and one with the codecs.

A desk is a thread that works in turns. Sessions live in the event loop and never wait for it; it never waits for
them, nor for another desk.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto

from voicewire.asr.identity import Identity
from voicewire.codecs.codec import Codec
from voicewire.streaming.capacity import measure_of
from voicewire.streaming.codec_desk import CodecDesk
from voicewire.streaming.codec_shelf import CodecLoader, codec_loader
from voicewire.streaming.commands import CloseStream, Report
from voicewire.streaming.errors import EngineError
from voicewire.streaming.ladder import Rung
from voicewire.streaming.logs import get_logger
from voicewire.streaming.metrics import Metrics
from voicewire.streaming.overload import Overload
from voicewire.streaming.recogniser import Loader, Measure, count_recognisers, loader, room_of
from voicewire.streaming.recogniser_desk import DeskState, RecogniserDesk
from voicewire.streaming.refiner import Refiner
from voicewire.streaming.seat import Seat
from voicewire.streaming.settings import ServerSettings

log = get_logger(__name__)


class EngineState(Enum):
    """What it is at."""

    LOADING = auto()
    READY = auto()  # sessions can be had
    FAILED = auto()  # a model could not be loaded
    STOPPED = auto()


class Engine:
    """Owns the desks, and deals sessions out to them.

    Args:
        load: makes a recogniser; called in the thread of each desk.
        most_seats: sessions at one time; the recognisers' own capacities bound them too.
        load_codecs: makes the codecs; called once, when the recognisers are there.
        desks: recognisers in all.
        refiner: has speech heard once more; None: nobody does.
        overload_s: seconds that a session which sends at the pace of speech may be behind; 0 lets it be.
        measure: says of a recogniser how many sessions it is to have.

    Attributes:
        metrics: where it and its sessions are measured.
    """

    def __init__(
        self,
        load: Loader,
        most_seats: int,
        load_codecs: CodecLoader = dict,
        *,
        desks: int = 1,
        refiner: Refiner | None = None,
        overload_s: float = 0.0,
        measure: Measure = room_of,
    ) -> None:
        self.metrics = Metrics()
        self._refiner = refiner
        self._most_seats = most_seats
        self._load_codecs = load_codecs
        self._codecs: Mapping[str, Codec] | None = None
        self._codec_desk = CodecDesk(self.metrics)
        self._lock = threading.Lock()
        self._stopping = False
        self._began = 0.0
        self._awaited = max(1, desks)  # recognisers that are loaded for the first time
        self._desks = [
            RecogniserDesk(load, self.metrics, self._loaded, self._freed, Overload(overload_s), measure)
            for _ in range(self._awaited)
        ]

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> "Engine":
        """An engine with real recognisers and codecs."""
        return cls(
            loader(settings),
            settings.most_sessions,
            codec_loader(settings),
            refiner=Refiner.from_settings(settings),
            desks=count_recognisers(settings),
            overload_s=settings.overload_s,
            measure=measure_of(settings),
        )

    # ---- for any thread

    @property
    def state(self) -> EngineState:
        states = [desk.state for desk in self._desks]
        if DeskState.FAILED in states:
            return EngineState.FAILED
        if DeskState.STOPPED in states:
            return EngineState.STOPPED
        loaded_once = all(desk.settled.is_set() for desk in self._desks)
        return EngineState.READY if loaded_once and DeskState.READY in states else EngineState.LOADING

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and warm."""
        return self.state is EngineState.READY

    @property
    def alive(self) -> bool:
        """Whether its threads run."""
        return all(desk.alive for desk in self._desks)

    @property
    def model_name(self) -> str:
        """Empty before the model is loaded."""
        return self._desks[0].model_name

    @property
    def identity(self) -> Identity:
        """What makes the words, to the bit; there must be a model."""
        identity = self._desks[0].identity
        assert identity is not None
        return identity

    @property
    def rung(self) -> Rung:
        """How much is saved for want of time, by the desk that saves most."""
        return max(desk.overload.rung for desk in self._desks)

    @property
    def codecs(self) -> Mapping[str, Codec]:
        """The codecs that sessions may use, by name; none before they are loaded."""
        return self._codecs or {}

    @property
    def capacity(self) -> int:
        """Sessions that can be had at one time."""
        return self._most_seats

    @property
    def seats_in_use(self) -> int:
        """Seats reserved and not yet free again."""
        return sum(desk.seats_in_use for desk in self._desks)

    @property
    def turn_s(self) -> float:
        """How long the longest of the present turns has taken; 0 where there is nothing to do."""
        pulses = [self._codec_desk.pulse, *(desk.pulse for desk in self._desks)]
        return max(pulse.turn_s for pulse in pulses)

    @property
    def state_bytes(self) -> int:
        """Memory taken for the caches of all streams; 0 where no model is loaded."""
        return sum(desk.state_bytes for desk in self._desks)

    def start(self) -> None:
        """Begins to load the models, and returns."""
        self._began = time.monotonic()
        for desk in self._desks:
            desk.start()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Blocks until the models are loaded. Raises EngineError where they could not be, or not in time."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        for desk in self._desks:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not desk.settled.wait(left):
                raise EngineError(f"the model was not loaded within {timeout_s:g} s")
        if not self.ready:
            raise EngineError(self._failure or "the engine was stopped")

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ends the threads after their present steps; False where that takes longer than `timeout_s`."""
        self._stopping = True
        until = time.monotonic() + timeout_s
        for desk in self._desks:
            desk.stop()
        self._codec_desk.stop(timeout_s)
        if self._refiner is not None:
            self._refiner.stop(timeout_s)
        return all(desk.join(max(0.0, until - time.monotonic())) for desk in self._desks)

    # ---- for the event loop

    def reserve(self, receive: Callable[[Report], None]) -> Seat | None:
        """A seat, with `receive` called in the running event loop for its reports; None where every one is taken.

        Raises EngineError where the engine is not ready.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self.ready or self._stopping:
                raise EngineError(self._failure or f"the engine is {self.state.name.lower()}: try again")
            if self.seats_in_use >= self._most_seats:
                return None
            desk = self._roomiest_desk()
            if desk is None:
                return None
            seat = Seat(desk, self._codec_desk, loop, receive, self._refiner)
            desk.seat(seat)
            return seat

    def _roomiest_desk(self) -> RecogniserDesk | None:
        """The one with the fewest sessions, of those that work and have room."""
        working = [desk for desk in self._desks if desk.state is DeskState.READY]
        free = [desk for desk in working if desk.seats_in_use < desk.capacity]
        return min(free, key=lambda desk: desk.seats_in_use, default=None)

    # ---- the desks' threads

    @property
    def _failure(self) -> str:
        return next((desk.failure for desk in self._desks if desk.failure), "")

    def _loaded(self) -> None:
        """A desk has a recogniser; the last one to get its first brings the codecs along, which outlive them."""
        with self._lock:
            self._awaited -= 1
            if self._awaited < 0:
                log.info("recogniser_loaded_anew")
            elif self._awaited == 0:
                self._most_seats = min(self._most_seats, sum(desk.capacity for desk in self._desks))
                self._begin_codecs()
                seconds = round(time.monotonic() - self._began, 2)
                names = {"model": self.model_name, "codecs": sorted(self.codecs)}
                log.info("model_loaded", **names, slots=self._most_seats, seconds=seconds)

    def _begin_codecs(self) -> None:
        codecs = self._load_codecs()
        self._codec_desk.start(codecs, self._most_seats)
        self._codecs = codecs

    def _freed(self, seat: Seat) -> None:
        self._codec_desk.submit(seat, CloseStream())
