"""How long a session waits, for whom, and what it says when it waits no longer."""

from dataclasses import dataclass
from enum import Enum, auto

from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.settings import ServerSettings


class SessionState(Enum):
    """Where a session stands."""

    WAITING = auto()  # for `start`
    OPENING = auto()  # for the engine
    RUNNING = auto()
    CLOSING = auto()  # the audio is over, the last words are on their way
    CLOSED = auto()  # the last message is in the outbox


@dataclass(frozen=True, slots=True)
class Ending:
    """How a closing session is to end; no code is `done`."""

    code: ErrorCode | None
    message: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a session ends; `at_once`, or after the words of what was received."""

    code: ErrorCode
    message: str
    at_once: bool


class Patience:
    """The deadlines of one session.

    Args:
        limits: the server's.
        now: when the connection was made; all times are of the same steady clock.

    Attributes:
        began: when the connection was made, later when `start` came.
        heard: when the client was last heard, or could be heard again.
        reported: when the engine last reported.
    """

    def __init__(self, limits: ServerSettings, now: float) -> None:
        self.began = self.heard = self.reported = now
        self._limits = limits

    def deadline(self, state: SessionState, *, held_back: bool, ending: Ending | None) -> float | None:
        """When patience ends, if nothing happens before; None where nothing is waited for."""
        limits = self._limits
        match state:
            case SessionState.WAITING:
                return self.began + limits.handshake_s
            case SessionState.OPENING:
                return self.heard + limits.drain_s
            case SessionState.RUNNING:
                # A client that is held back cannot be heard, but then the engine must be.
                idle = self.heard + limits.idle_s
                stuck = max(self.heard, self.reported) + limits.drain_s
                return min(self.began + limits.session_s, stuck if held_back else idle)
            case SessionState.CLOSING:
                return ending.deadline if ending else None
            case SessionState.CLOSED:
                return None

    def verdict(self, state: SessionState, now: float, *, held_back: bool, ending: Ending | None) -> Verdict:
        """What to say at the deadline."""
        limits = self._limits
        match state:
            case SessionState.WAITING:
                message = f"no `start` within {limits.handshake_s:g} s of the connection"
                return Verdict(ErrorCode.HANDSHAKE_TIMEOUT, message, at_once=True)
            case SessionState.OPENING:
                message = "the server could not begin the session in time: try again"
                return Verdict(ErrorCode.OVERLOADED, message, at_once=True)
            case SessionState.RUNNING if now >= self.began + limits.session_s:
                message = f"a session lasts at most {limits.session_s:g} s: open another"
                return Verdict(ErrorCode.SESSION_TOO_LONG, message, at_once=False)
            case SessionState.RUNNING if held_back:
                message = f"the server made no headway for {limits.drain_s:g} s: try again later"
                return Verdict(ErrorCode.OVERLOADED, message, at_once=True)
            case SessionState.RUNNING:
                message = f"nothing came for {limits.idle_s:g} s: send audio or `keepalive`"
                return Verdict(ErrorCode.IDLE_TIMEOUT, message, at_once=False)
            case _:
                code = ending.code if ending and ending.code else ErrorCode.OVERLOADED
                message = "the server could not finish the audio in time; its last words are lost"
                return Verdict(code, message, at_once=True)
