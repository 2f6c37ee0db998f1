"""Which HTTP status goes with what is wrong, in every protocol that is not ours."""

from voicewire.streaming.errors import ParameterError, SessionError
from voicewire.streaming.lobby import RETRY_LATER
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.porter import STATUS

_LATER = frozenset(
    (ErrorCode.CAPACITY, ErrorCode.OVERLOADED, ErrorCode.SHED, ErrorCode.SHUTTING_DOWN, ErrorCode.INTERNAL)
)


def http_status(error: ParameterError | SessionError) -> int:
    """503 where another attempt may succeed, 413 for what is too long, else 400: clients give up on a 4xx."""
    if isinstance(error, ParameterError):
        return 400
    if error.code in STATUS:
        return STATUS[error.code]
    if error.code in _LATER:
        return 503
    return 413 if error.code is ErrorCode.MESSAGE_TOO_BIG else 400


def retry_headers(error: ParameterError | SessionError) -> dict[str, str]:
    """When to try again, where that makes sense."""
    return RETRY_LATER if http_status(error) in (429, 503) else {}
