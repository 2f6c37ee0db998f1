"""One thread that owns a recogniser: commands of its sessions in, one batch per turn, reports out."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto

from voicewire.asr.errors import AsrError, RecogniserLostError, SettingsError
from voicewire.asr.events import Event
from voicewire.asr.identity import Identity
from voicewire.asr.settings import FRAME_SAMPLES, SAMPLE_RATE
from voicewire.codecs.errors import CodecError
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    ConfigureStream,
    Failed,
    FlushStream,
    Opened,
    OpenStream,
    Parked,
    Progress,
    PushAudio,
    PushFeatures,
    Report,
    SetEffort,
    SnapshotStream,
    StreamState,
)
from voicewire.streaming.inbox import Inbox
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.meter import TurnMeter
from voicewire.streaming.metrics import Metrics
from voicewire.streaming.overload import Overload
from voicewire.streaming.pulse import Pulse
from voicewire.streaming.recogniser import Loader, Measure, Recogniser, room_of, warm_up
from voicewire.streaming.seat import Seat, deliver

log = get_logger(__name__)

_FAULT = "the recogniser failed: the session is lost, open another"
_TOO_MUCH = "the server has too much to do, and this is its youngest session: try again later, or elsewhere"

# A step that fails this often in a row without one that works between makes the desk load its recogniser anew.
_FAULTS_BEFORE_RELOAD = 3


class DeskState(Enum):
    """What the desk's thread is at."""

    LOADING = auto()
    READY = auto()
    FAILED = auto()  # the model could not be loaded
    STOPPED = auto()


class RecogniserDesk:
    """Owns a recogniser and the thread that runs it.

    Args:
        load: makes the recogniser; called in the desk's thread, again after a fault that it did not survive.
        metrics: where its turns are measured.
        loaded: called in that thread when there is a recogniser, before any session has it; what it raises counts
            as a failure to load.
        freed: called in that thread with each session that is over.
        overload: watches its sessions.
        measure: called once in that thread with the first recogniser: how many sessions it is to have.

    Attributes:
        capacity: sessions at one time; 0 before the model is loaded.
        model_name: empty before then.
        identity: what makes the words; None before then.
        failure: why it cannot be used, for people; empty where it can.
    """

    def __init__(
        self,
        load: Loader,
        metrics: Metrics,
        loaded: Callable[[], None],
        freed: Callable[[Seat], None],
        overload: Overload,
        measure: Measure = room_of,
    ) -> None:
        self._load = load
        self._meter = TurnMeter(metrics)
        self._loaded = loaded
        self._freed = freed
        self.overload = overload
        self._measure = measure
        self.capacity = 0
        self.model_name = ""
        self.identity: Identity | None = None
        self.failure = ""
        self.settled = threading.Event()  # the model is loaded, or cannot be
        self._inbox = Inbox(metrics.queue.observe)
        self._lock = threading.Lock()
        self._seats: set[Seat] = set()
        self._state = DeskState.LOADING
        self._recogniser: Recogniser | None = None
        self._open: dict[int, Seat] = {}
        self._sound = True
        self._faults = 0
        self._thread = threading.Thread(target=self._run, name="voicewire-recogniser", daemon=True)

    # ---- for any thread

    @property
    def pulse(self) -> Pulse:
        """Of its thread."""
        return self._inbox.pulse

    @property
    def state(self) -> DeskState:
        return self._state

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def seats_in_use(self) -> int:
        """Seats given and not yet free again."""
        with self._lock:
            return len(self._seats)

    @property
    def state_bytes(self) -> int:
        """Memory taken for the caches of all streams; 0 where no model is loaded."""
        recogniser = self._recogniser
        return recogniser.state_bytes_per_slot * recogniser.capacity if recogniser is not None else 0

    def start(self) -> None:
        """Begins to load the model, and returns."""
        self._thread.start()

    def stop(self) -> None:
        """Lets the thread end after its present step, and returns."""
        self._inbox.close()

    def join(self, timeout_s: float) -> bool:
        """Waits for the end of the thread; False where that takes longer."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def seat(self, seat: Seat) -> None:
        """Takes a session on, for which there is room."""
        with self._lock:
            self._seats.add(seat)

    def submit(self, seat: Seat, command: Command) -> None:
        """Queues a command; `Seat.send` is the way to it."""
        with self._lock:
            known = seat in self._seats
        if known:
            self._inbox.put(seat, command)

    # ---- the desk's thread

    def _run(self) -> None:
        try:
            while self._have_recogniser():
                if self._serve():
                    self._end_all(ErrorCode.SHUTTING_DOWN, "the server is shutting down: connect again")
                    self._recogniser = None
                    self._state = DeskState.STOPPED
                    return
        except Exception:
            self.failure = "the engine's thread failed: restart the server"
            log.exception("engine_failed")
        self._state = DeskState.FAILED
        self._end_all(ErrorCode.INTERNAL, _FAULT)

    def _serve(self) -> bool:
        """Turn after turn; True where the desk is to stop, False where the recogniser must be loaded anew."""
        idle = True
        while self._sound:
            commands = self._inbox.take(wait=idle)
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

    def _have_recogniser(self) -> bool:
        """Loads and warms the recogniser; False where that fails."""
        self._state = DeskState.LOADING
        try:
            recogniser = self._load()
            warm_up(recogniser)
            self.model_name, self.identity = recogniser.model_name, recogniser.identity
            self.capacity = self.capacity or self._measure(recogniser)
            self._loaded()
        except Exception as error:
            self.failure = f"the model could not be loaded: {error}"
            self._state = DeskState.FAILED
            # What is said on purpose is understood without a traceback.
            on_purpose = isinstance(error, AsrError | CodecError)
            log.error("model_not_loaded", reason=str(error), exc_info=not on_purpose)
        else:
            self._recogniser = recogniser
            self._meter.loaded(recogniser.stage_seconds)
            self._sound, self._faults = True, 0
            self._state = DeskState.READY
        self.settled.set()
        return self._state is DeskState.READY

    def _obey(self, seat: Seat, command: Command, turn: list[tuple[Seat, Report]]) -> None:
        """One command of one session; what goes wrong ends that session alone."""
        try:
            if isinstance(command, CloseStream):
                self._free(seat)
            elif isinstance(command, OpenStream):
                self._open_stream(seat, command, turn)
            elif isinstance(command, SnapshotStream):
                self._park(seat, turn)
            elif seat.slot is not None:
                self._pass_on(seat, seat.slot, command)
        except Exception as error:
            expected = isinstance(error, SettingsError)
            if not expected:
                log.exception("command_failed", command=type(command).__name__)
            code = ErrorCode.UNSUPPORTED_SETTING if expected else ErrorCode.INTERNAL
            self._fail(seat, Failed(code, str(error) if expected else _FAULT), turn)
            if isinstance(error, RecogniserLostError):
                self._give_up_recogniser()

    def _open_stream(self, seat: Seat, command: OpenStream, turn: list[tuple[Seat, Report]]) -> None:
        assert self._recogniser is not None
        assert command.settings is not None
        if command.state is None:
            seat.slot = self._recogniser.open(command.settings)
            turn.append((seat, Opened()))
        else:
            seat.slot = self._recogniser.restore(command.state.snapshot)
            seat.go_on(command.state)
        self._open[seat.slot] = seat
        turn += self.overload.admit(self._recogniser, seat)

    def _park(self, seat: Seat, turn: list[tuple[Seat, Report]]) -> None:
        """Gives a stream's state, and its slot back."""
        assert self._recogniser is not None
        assert seat.slot is not None
        snapshot = self._recogniser.snapshot(seat.slot)
        turn.append((seat, Parked(StreamState(snapshot, seat.pushed_samples, seat.processed_samples))))
        self._free(seat)

    def _pass_on(self, seat: Seat, slot: int, command: Command) -> None:
        assert self._recogniser is not None
        match command:
            case PushAudio():
                seat.pushed_samples += len(command.samples)
                seat.pace.hear(len(command.samples) / SAMPLE_RATE, time.monotonic())
                self._recogniser.push(slot, command.samples)
            case PushFeatures():
                seat.pushed_samples += len(command.heard.features) * FRAME_SAMPLES
                self._recogniser.push_features(slot, *command.heard)
            case FlushStream():
                self._recogniser.flush(slot, command.tag)
            case ConfigureStream():
                self._recogniser.configure(slot, command.settings)
            case SetEffort():
                seat.prescribed.append(command)

    def _step(self, turn: list[tuple[Seat, Report]]) -> bool:
        """One batch for every stream that has a tick ready; False where there was nothing to do."""
        if self._recogniser is None or not self._open:
            return False
        began = time.perf_counter()
        try:
            self.overload.obey(self._recogniser, self._open)
            results = self._recogniser.step()
            took_s = time.perf_counter() - began
            if results:
                self._meter.stepped(took_s, len(results), self._recogniser.stage_seconds)
            reports = [
                (seat, replace(report, turn_s=took_s, sessions=len(results)))
                for slot, seat in self._open.items()
                if (report := self._progress(self._recogniser, slot, seat, results.get(slot, [])))
            ]
        except Exception as error:
            log.exception("step_failed", sessions=len(self._open))
            self._meter.failed()
            self._recover(error, turn)
            return False
        self._faults = 0
        turn += reports
        self._watch(self._recogniser, took_s, turn)
        return bool(results or reports)

    def _watch(self, recogniser: Recogniser, took_s: float, turn: list[tuple[Seat, Report]]) -> None:
        """Does less for the sessions where there is too much to do, and lets the youngest go where that is too
        little.
        """
        told, shed = self.overload.watch(recogniser, self._open, took_s, time.monotonic())
        turn += told
        if shed is not None:
            self._fail(shed, Failed(ErrorCode.SHED, _TOO_MUCH), turn)

    def _progress(
        self, recogniser: Recogniser, slot: int, seat: Seat, events: list[Event]
    ) -> Progress | None:
        processed = seat.pushed_samples - recogniser.backlog_samples(slot)
        if not events and processed == seat.processed_samples:
            return None
        seat.processed_samples = processed
        return Progress(tuple(events), processed)

    def _recover(self, error: Exception, turn: list[tuple[Seat, Report]]) -> None:
        """A step failed: no stream's state can be trusted. The recogniser goes on empty, or is loaded anew."""
        for seat in list(self._open.values()):
            self._fail(seat, Failed(ErrorCode.INTERNAL, _FAULT), turn)
        self._faults += 1
        if self._faults >= _FAULTS_BEFORE_RELOAD or isinstance(error, RecogniserLostError):
            self._give_up_recogniser()

    def _give_up_recogniser(self) -> None:
        self._sound = False
        self._state = DeskState.LOADING

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
        # First of all, before anybody else can have its place.
        self._freed(seat)
        with self._lock:
            self._seats.discard(seat)

    def _end_all(self, code: ErrorCode, message: str) -> None:
        """Ends every session, those that have only a seat too."""
        with self._lock:
            seats = list(self._seats)
        for seat in seats:
            self._forget(seat)
        deliver([(seat, Failed(code, message)) for seat in seats])
