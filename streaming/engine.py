"""The one thread that owns the recogniser: commands of all sessions in, one batch per turn, reports out.

Sessions live in the event loop and never wait for it; it never waits for them. Tokens are made by another thread,
the codecs' desk, which begins and ends with this one.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto

from voicewire.asr.errors import AsrError, SettingsError
from voicewire.asr.events import Event
from voicewire.asr.settings import FRAME_SAMPLES
from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import CodecError
from voicewire.streaming.codec_desk import CodecDesk
from voicewire.streaming.codec_shelf import CodecLoader, codec_loader
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    ConfigureStream,
    Failed,
    FlushStream,
    Opened,
    OpenStream,
    Progress,
    PushAudio,
    PushFeatures,
    Report,
)
from voicewire.streaming.errors import EngineError
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.meter import TurnMeter
from voicewire.streaming.metrics import Metrics
from voicewire.streaming.pulse import Pulse
from voicewire.streaming.recogniser import Loader, Recogniser, loader, warm_up
from voicewire.streaming.seat import Seat, deliver
from voicewire.streaming.settings import ServerSettings

log = get_logger(__name__)

_FAULT = "the recogniser failed: the session is lost, open another"

# A step that fails this often in a row without one that works between makes the engine load the recogniser anew.
_FAULTS_BEFORE_RELOAD = 3


class EngineState(Enum):
    """What the engine's thread is at."""

    LOADING = auto()
    READY = auto()
    FAILED = auto()  # the model could not be loaded
    STOPPED = auto()


class Engine:
    """Owns a recogniser and the thread that runs it.

    Args:
        load: makes the recogniser; called in the engine's thread.
        most_seats: sessions at one time; the recogniser's own capacity bounds them too.
        load_codecs: makes the codecs; called there once, after the recogniser.

    Attributes:
        metrics: where it and its sessions are measured.
    """

    def __init__(self, load: Loader, most_seats: int, load_codecs: CodecLoader = dict) -> None:
        self._load = load
        self._load_codecs = load_codecs
        self._codecs: Mapping[str, Codec] | None = None
        self.metrics = Metrics()
        self._meter = TurnMeter(self.metrics)
        self._pulse = Pulse()
        self._desk = CodecDesk(self.metrics)
        self._most_seats = most_seats
        self._wake = threading.Condition()
        self._commands: deque[tuple[Seat, Command]] = deque()
        self._seats: set[Seat] = set()
        self._state = EngineState.LOADING
        self._stopping = False
        self._settled = threading.Event()
        self._model_name = ""
        self._failure = ""
        self._recogniser: Recogniser | None = None
        self._open: dict[int, Seat] = {}
        self._sound = True
        self._faults = 0
        self._thread = threading.Thread(target=self._run, name="voicewire-engine", daemon=True)

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> "Engine":
        """An engine with the real recogniser and codecs."""
        return cls(loader(settings), settings.max_sessions, codec_loader(settings))

    # ---- for any thread

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and warm."""
        return self._state is EngineState.READY

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def model_name(self) -> str:
        """Empty before the model is loaded."""
        return self._model_name

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
        with self._wake:
            return len(self._seats)

    @property
    def turn_s(self) -> float:
        """How long the present turn has taken, the recogniser's or the codecs'; 0 where there is nothing to do."""
        return max(self._pulse.turn_s, self._desk.pulse.turn_s)

    @property
    def state_bytes(self) -> int:
        """Memory taken for the caches of all streams; 0 where no model is loaded."""
        recogniser = self._recogniser
        return recogniser.state_bytes_per_slot * recogniser.capacity if recogniser is not None else 0

    def start(self) -> None:
        """Begins to load the model, and returns."""
        self._thread.start()

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Blocks until the model is loaded. Raises EngineError where it could not be, or not in time."""
        if not self._settled.wait(timeout_s):
            raise EngineError(f"the model was not loaded within {timeout_s:g} s")
        if self._state is not EngineState.READY:
            raise EngineError(self._failure or "the engine was stopped")

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Ends the thread after its present step; False where that takes longer than `timeout_s`."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._desk.stop(timeout_s)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ---- for the event loop

    def reserve(self, receive: Callable[[Report], None]) -> Seat | None:
        """A seat, with `receive` called in the running event loop for its reports; None where every one is taken.

        Raises EngineError where the engine is not ready.
        """
        loop = asyncio.get_running_loop()
        with self._wake:
            if self._state is not EngineState.READY or self._stopping:
                raise EngineError(self._failure or f"the engine is {self._state.name.lower()}: try again")
            if len(self._seats) >= self._most_seats:
                return None
            seat = Seat(self, self._desk, loop, receive)
            self._seats.add(seat)
            return seat

    def submit(self, seat: Seat, command: Command) -> None:
        """Queues a command; `Seat.send` is the way to it."""
        with self._wake:
            if seat not in self._seats:
                return
            self._commands.append((seat, command))
            self._meter.queued()
            self._wake.notify()

    # ---- the engine's thread

    def _run(self) -> None:
        try:
            while self._loaded():
                if self._serve():
                    self._end_all(ErrorCode.SHUTTING_DOWN, "the server is shutting down: connect again")
                    self._state = EngineState.STOPPED
                    return
        except Exception:
            self._failure = "the engine's thread failed: restart the server"
            log.exception("engine_failed")
        self._state = EngineState.FAILED
        self._end_all(ErrorCode.INTERNAL, _FAULT)

    def _serve(self) -> bool:
        """Turn after turn; True where the engine is to stop, False where the recogniser must be loaded anew."""
        idle = True
        while self._sound:
            commands = self._next_commands(wait=idle)
            if commands is None:
                return True
            turn: list[tuple[Seat, Report]] = []
            for seat, command in commands:
                if not seat.over:
                    self._obey(seat, command, turn)
            idle = not self._step(turn)
            deliver(turn)
        self._recogniser = None
        self._end_all(ErrorCode.INTERNAL, _FAULT)
        return False

    def _loaded(self) -> bool:
        """Loads and warms the recogniser; False where that fails."""
        self._state = EngineState.LOADING
        began = time.monotonic()
        try:
            recogniser = self._load()
            warm_up(recogniser)
            self._begin_codecs(min(self._most_seats, recogniser.capacity))
        except Exception as error:
            self._failure = f"the model could not be loaded: {error}"
            self._state = EngineState.FAILED
            # What is said on purpose is understood without a traceback.
            on_purpose = isinstance(error, AsrError | CodecError)
            log.error("model_not_loaded", reason=str(error), exc_info=not on_purpose)
        else:
            self._recogniser = recogniser
            self._meter.loaded(recogniser.stage_seconds)
            self._sound, self._faults = True, 0
            self._model_name = recogniser.model_name
            self._most_seats = min(self._most_seats, recogniser.capacity)
            self._state = EngineState.READY
            log.info(
                "model_loaded",
                model=recogniser.model_name,
                slots=self._most_seats,
                codecs=sorted(self.codecs),
                seconds=round(time.monotonic() - began, 2),
            )
        self._settled.set()
        return self._state is EngineState.READY

    def _begin_codecs(self, slots: int) -> None:
        """Codecs outlive a recogniser that must be loaded anew."""
        if self._codecs is None:
            codecs = self._load_codecs()
            self._desk.start(codecs, slots)
            self._codecs = codecs

    def _next_commands(self, *, wait: bool) -> list[tuple[Seat, Command]] | None:
        """What came since the last turn, sleeping until something does where `wait`; None where all is over."""
        with self._wake:
            while wait and not self._commands and not self._stopping:
                self._pulse.rest()
                self._wake.wait()
            self._pulse.beat()
            if self._stopping:
                return None
            commands = list(self._commands)
            self._commands.clear()
            self._meter.taken()
            return commands

    def _obey(self, seat: Seat, command: Command, turn: list[tuple[Seat, Report]]) -> None:
        """One command of one session; what goes wrong ends that session alone."""
        try:
            if isinstance(command, CloseStream):
                self._free(seat)
            elif isinstance(command, OpenStream):
                self._open_stream(seat, command)
                turn.append((seat, Opened()))
            elif seat.slot is not None:
                self._pass_on(seat, seat.slot, command)
        except Exception as error:
            expected = isinstance(error, SettingsError)
            if not expected:
                log.exception("command_failed", command=type(command).__name__)
            code = ErrorCode.UNSUPPORTED_SETTING if expected else ErrorCode.INTERNAL
            self._fail(seat, Failed(code, str(error) if expected else _FAULT), turn)

    def _open_stream(self, seat: Seat, command: OpenStream) -> None:
        assert self._recogniser is not None
        assert command.settings is not None
        seat.slot = self._recogniser.open(command.settings)
        self._open[seat.slot] = seat

    def _pass_on(self, seat: Seat, slot: int, command: Command) -> None:
        assert self._recogniser is not None
        match command:
            case PushAudio():
                seat.pushed_samples += len(command.samples)
                self._recogniser.push(slot, command.samples)
            case PushFeatures():
                seat.pushed_samples += len(command.heard.features) * FRAME_SAMPLES
                self._recogniser.push_features(slot, *command.heard)
            case FlushStream():
                self._recogniser.flush(slot, command.tag)
            case ConfigureStream():
                self._recogniser.configure(slot, command.settings)

    def _step(self, turn: list[tuple[Seat, Report]]) -> bool:
        """One batch for every stream that has a tick ready; False where there was nothing to do."""
        if self._recogniser is None or not self._open:
            return False
        began = time.perf_counter()
        try:
            results = self._recogniser.step()
            if results:
                seconds = time.perf_counter() - began
                self._meter.stepped(seconds, len(results), self._recogniser.stage_seconds)
            reports = [
                (seat, report)
                for slot, seat in self._open.items()
                if (report := self._progress(self._recogniser, slot, seat, results.get(slot, [])))
            ]
        except Exception:
            log.exception("step_failed", sessions=len(self._open))
            self._meter.failed()
            self._recover(turn)
            return False
        self._faults = 0
        turn += reports
        return bool(results or reports)

    def _progress(
        self, recogniser: Recogniser, slot: int, seat: Seat, events: list[Event]
    ) -> Progress | None:
        processed = seat.pushed_samples - recogniser.backlog_samples(slot)
        if not events and processed == seat.processed_samples:
            return None
        seat.processed_samples = processed
        return Progress(tuple(events), processed)

    def _recover(self, turn: list[tuple[Seat, Report]]) -> None:
        """A step failed: no stream's state can be trusted. The recogniser goes on empty, or is loaded anew."""
        for seat in list(self._open.values()):
            self._fail(seat, Failed(ErrorCode.INTERNAL, _FAULT), turn)
        self._faults += 1
        if self._faults >= _FAULTS_BEFORE_RELOAD:
            self._give_up_recogniser()

    def _give_up_recogniser(self) -> None:
        self._sound = False
        self._state = EngineState.LOADING

    def _fail(self, seat: Seat, report: Failed, turn: list[tuple[Seat, Report]]) -> None:
        self._free(seat)
        turn.append((seat, report))

    def _free(self, seat: Seat) -> None:
        """Closes the seat's stream, if it has one, and gives the seat back."""
        try:
            if seat.slot is not None and self._recogniser is not None:
                self._recogniser.close(seat.slot)
        except Exception:
            log.exception("slot_not_closed")
            self._give_up_recogniser()
        finally:
            self._forget(seat)

    def _forget(self, seat: Seat) -> None:
        if seat.slot is not None:
            self._open.pop(seat.slot, None)
        seat.slot = None
        seat.over = True
        self._desk.submit(seat, CloseStream())
        with self._wake:
            self._seats.discard(seat)

    def _end_all(self, code: ErrorCode, message: str) -> None:
        """Ends every session, those that have only a seat too."""
        with self._wake:
            seats = list(self._seats)
        for seat in seats:
            self._forget(seat)
        deliver([(seat, Failed(code, message)) for seat in seats])
