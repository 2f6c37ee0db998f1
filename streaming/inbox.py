"""Commands on their way to a thread that works in turns."""

import threading
import time
from collections import deque
from collections.abc import Callable

from voicewire.streaming.commands import Command
from voicewire.streaming.pulse import Pulse
from voicewire.streaming.seat import Seat


class Inbox:
    """Any thread puts commands in; one thread takes them out, turn by turn.

    Args:
        waited: told at each turn how many seconds the oldest of its commands has waited for it.

    Attributes:
        pulse: of that thread: it beats with each turn and rests while there is nothing to do.
    """

    def __init__(self, waited: Callable[[float], None] = lambda _: None) -> None:
        self.pulse = Pulse()
        self._waited = waited
        self._oldest = 0.0
        self._wake = threading.Condition()
        self._commands: deque[tuple[Seat, Command]] = deque()
        self._closed = False

    def put(self, seat: Seat, command: Command) -> None:
        """Queues a command, and returns at once."""
        with self._wake:
            if not self._commands:
                self._oldest = time.perf_counter()
            self._commands.append((seat, command))
            self._wake.notify()

    def close(self) -> None:
        """Nothing more is to be done."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def take(self, *, wait: bool) -> list[tuple[Seat, Command]] | None:
        """What came since the last turn, sleeping until something does where `wait`; None where it is closed."""
        with self._wake:
            while wait and not self._commands and not self._closed:
                self.pulse.rest()
                self._wake.wait()
            self.pulse.beat()
            if self._closed:
                return None
            commands = list(self._commands)
            self._commands.clear()
            waited_s = time.perf_counter() - self._oldest
        if commands:
            self._waited(waited_s)
        return commands
