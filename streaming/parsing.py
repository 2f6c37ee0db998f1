"""A client's text messages, read with errors that say what was expected and what came."""

from pydantic import ValidationError
from pydantic_core import from_json

from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import (
    PROTOCOL_VERSION,
    ClientMessage,
    ErrorCode,
    Start,
    parse_client_message,
)

_TYPES = "start, resume, configure, flush, keepalive, close or ack"

# Of what a client sent, this much is said back to it.
_QUOTED = 60


def parse(text: str, most_bytes: int) -> ClientMessage:
    """Raises SessionError, with the code of what is wrong."""
    # A character has at least one byte, so most messages need no counting.
    if len(text) > most_bytes or (len(text) * 4 > most_bytes and len(text.encode()) > most_bytes):
        raise SessionError(ErrorCode.MESSAGE_TOO_BIG, f"a text message of more than {most_bytes} bytes")
    try:
        message = parse_client_message(text)
    except ValidationError as error:
        raise _explained(error, text) from error
    if isinstance(message, Start) and message.version != PROTOCOL_VERSION:
        raise _unsupported()
    return message


def check_size(data: bytes, most_bytes: int) -> None:
    """Raises SessionError for a binary message that is too long."""
    if len(data) > most_bytes:
        raise SessionError(
            ErrorCode.MESSAGE_TOO_BIG, f"a message of {len(data)} bytes: send at most {most_bytes}"
        )


def _explained(error: ValidationError, text: str) -> SessionError:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return SessionError(ErrorCode.BAD_JSON, f"expected a JSON object: {first['msg']}")
    if first["type"] == "union_tag_not_found":
        return SessionError(ErrorCode.BAD_MESSAGE, f"expected a field `type`: {_TYPES}")
    if first["type"] == "union_tag_invalid":
        got = str(first.get("ctx", {}).get("tag", ""))[:_QUOTED]
        return SessionError(ErrorCode.BAD_MESSAGE, f"expected `type` to be {_TYPES}, and got {got!r}")
    if not first["loc"]:
        return SessionError(
            ErrorCode.BAD_MESSAGE, "expected a JSON object, and got another kind of JSON value"
        )
    # A later version may have fields that this one does not know: the version is what is wrong then.
    if (
        first["loc"][:1] == ("start",)
        and from_json(text).get("version", PROTOCOL_VERSION) != PROTOCOL_VERSION
    ):
        return _unsupported()
    where = ".".join(str(part) for part in first["loc"])[:_QUOTED]
    return SessionError(ErrorCode.BAD_MESSAGE, f"{where}: {first['msg']}")


def _unsupported() -> SessionError:
    return SessionError(
        ErrorCode.UNSUPPORTED_VERSION, f"this server speaks version {PROTOCOL_VERSION} of the protocol alone"
    )
