"""The one thread that owns the codecs: audio of all sessions to tokens and back, one batch per codec and turn.

It runs beside the recogniser's thread, so that words never wait for a codec.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from voicewire.codecs.codec import Codec, CodecBatch, Given, Made
from voicewire.codecs.errors import CodecError, TokensError
from voicewire.streaming.codec_lanes import Lane, Marker
from voicewire.streaming.codec_visit import Benches, Visit
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    Failed,
    Opened,
    OpenStream,
    Part,
    PushAudio,
    PushTokens,
    Report,
)
from voicewire.streaming.inbox import Inbox
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.metrics import Metrics
from voicewire.streaming.pulse import Pulse
from voicewire.streaming.seat import Seat, deliver

log = get_logger(__name__)

_FAULT = "the codec failed: the session is lost, open another"

Turn: TypeAlias = list[tuple[Seat, Report]]
_Items: TypeAlias = dict[Seat, tuple[Lane[Given, Made], Given]]


class CodecDesk:
    """Owns the codecs' streams and the thread that runs them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._inbox = Inbox()
        self._benches = Benches({}, 0)
        self._visits: dict[Seat, Visit] = {}
        self._thread = threading.Thread(target=self._run, name="voicewire-codecs", daemon=True)

    # ---- for any thread

    @property
    def pulse(self) -> Pulse:
        """Of its thread."""
        return self._inbox.pulse

    def start(self, codecs: Mapping[str, Codec], slots: int) -> None:
        """Makes room for so many sessions with each codec, and begins."""
        self._benches = Benches(codecs, slots)
        if codecs:
            self._thread.start()

    def submit(self, seat: Seat, command: Command) -> None:
        """Queues a command; `Seat.send` is the way to it."""
        if self._benches.codecs:
            self._inbox.put(seat, command)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread after its present turn."""
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # ---- the desk's thread

    def _run(self) -> None:
        idle = True
        while (commands := self._inbox.take(wait=idle)) is not None:
            turn: Turn = []
            try:
                idle = not self._take_turn(commands, turn)
            except Exception:
                log.exception("codecs_failed", sessions=len(self._visits))
                self._recover(commands, turn)
                idle = True
            deliver(turn)

    def _take_turn(self, commands: list[tuple[Seat, Command]], turn: Turn) -> bool:
        """Whether there was anything to do."""
        for seat, command in commands:
            self._obey(seat, command, turn)
        # Decoders first: what they make can be encoded in the same turn.
        decoded = self._advance({seat: visit.decoder for seat, visit in self._visits.items()}, turn)
        encoded = self._advance({seat: visit.encoder for seat, visit in self._visits.items()}, turn)
        for seat, visit in self._visits.items():
            if visit.encoder is not None and (report := visit.encoder.report()) is not None:
                turn.append((seat, report))
        return decoded or encoded

    def _obey(self, seat: Seat, command: Command, turn: Turn) -> None:
        try:
            if isinstance(command, OpenStream):
                visit = self._visits[seat] = Visit(self._benches, seat, command)
                if visit.encoder is not None:
                    turn.append((seat, Opened(Part.TOKENS)))
            elif isinstance(command, CloseStream):
                self._close(seat)
            elif seat in self._visits and isinstance(command, PushAudio | PushTokens | Marker):
                self._visits[seat].take(command)
        except TokensError as error:
            self._fail(seat, Failed(ErrorCode.BAD_TOKENS, str(error)), turn)
        except CodecError as error:
            self._fail(seat, Failed(ErrorCode.CAPACITY, str(error)), turn)

    def _advance(self, lanes: Mapping[Seat, Lane[Given, Made] | None], turn: Turn) -> bool:
        """One batch per codec of what is due on these lanes; whether anything was."""
        batches: dict[CodecBatch[Given, Made], _Items[Given, Made]] = defaultdict(dict)
        for seat, lane in lanes.items():
            if lane is not None and (item := lane.take()) is not None:
                batches[lane.batch][seat] = lane, item
        for batch, items in batches.items():
            self._push(batch, items, turn)
        obeyed = [
            lane.obey_due() for seat, lane in lanes.items() if lane is not None and seat in self._visits
        ]
        return bool(batches) or any(obeyed)

    def _push(self, batch: CodecBatch[Given, Made], items: _Items[Given, Made], turn: Turn) -> None:
        try:
            with self._metrics.codec.time():
                made = batch.push({lane.slot: item for lane, item in items.values()})
        except TokensError as error:
            # Somebody's tokens cannot be, and nobody's stream has moved; each alone tells whose.
            if len(items) == 1:
                [seat] = items
                self._fail(seat, Failed(ErrorCode.BAD_TOKENS, str(error)), turn)
            else:
                for seat, item in items.items():
                    self._push(batch, {seat: item}, turn)
        else:
            for lane, _ in items.values():
                lane.made(made[lane.slot])

    def _recover(self, commands: list[tuple[Seat, Command]], turn: Turn) -> None:
        """A turn failed: no stream's state can be trusted, and commands may be lost. The benches are made anew."""
        seats = {*self._visits, *(seat for seat, _ in commands)}
        self._visits.clear()
        turn += [(seat, Failed(ErrorCode.INTERNAL, _FAULT)) for seat in seats]
        self._benches = Benches(self._benches.codecs, self._benches.slots)

    def _fail(self, seat: Seat, report: Failed, turn: Turn) -> None:
        self._close(seat)
        turn.append((seat, report))

    def _close(self, seat: Seat) -> None:
        """Gives the slots of a session back."""
        visit = self._visits.pop(seat, None)
        if visit is not None:
            visit.close()
