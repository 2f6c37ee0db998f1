"""What became of a session, as a framework wants to know it: whether another one may be had a little later."""

from voicewire.client.errors import ClientError, ConnectionFailed, ConnectionLost, ServerError
from voicewire.streaming.messages import ErrorCode

_PASSING = frozenset(
    {
        ErrorCode.CAPACITY,
        ErrorCode.HANDSHAKE_TIMEOUT,
        ErrorCode.IDLE_TIMEOUT,
        ErrorCode.INTERNAL,
        ErrorCode.KEY_LIMIT,
        ErrorCode.OVERLOADED,
        ErrorCode.RESUME_FAILED,
        ErrorCode.SESSION_TOO_LONG,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.SLOW_READER,
    }
)


def may_pass(error: ClientError) -> bool:
    """Whether the same session may well come about later; where not, something has to be set otherwise."""
    if isinstance(error, ServerError):
        return error.code in _PASSING
    return isinstance(error, ConnectionFailed | ConnectionLost)
