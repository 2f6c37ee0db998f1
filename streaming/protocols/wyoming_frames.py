"""Wyoming's frames as bytes in, events out: a line of JSON, more JSON, a payload; each of them bounded."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import ErrorCode

VERSION = "1.8.0"

# Names of models and languages are all that there is in a header; no event that a recogniser is sent needs more.
_MOST_JSON_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        type: its name.
        data: what it says.
        payload: audio, or nothing.
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def to_bytes(self) -> bytes:
        """As it goes over the wire."""
        header: dict[str, Any] = {"type": self.type, "version": VERSION}
        data = json.dumps(self.data, ensure_ascii=False).encode() if self.data else b""
        if data:
            header["data_length"] = len(data)
        if self.payload:
            header["payload_length"] = len(self.payload)
        return json.dumps(header).encode() + b"\n" + data + self.payload


class _Header(BaseModel):
    type: str = Field(max_length=100)
    data: dict[str, Any] | None = None
    data_length: int | None = Field(default=None, ge=0)
    payload_length: int | None = Field(default=None, ge=0)


class FrameReader:
    """Reads one connection's events.

    Args:
        most_payload_bytes: security limit: bytes of one payload.
    """

    def __init__(self, most_payload_bytes: int) -> None:
        self._most_payload_bytes = most_payload_bytes
        self._buffer = bytearray()
        self._header: _Header | None = None

    def push(self, data: bytes) -> Iterator[Event]:
        """Takes bytes in at once; gives the events that they complete. Raises SessionError."""
        self._buffer += data
        return self._events()

    def _events(self) -> Iterator[Event]:
        while True:
            if self._header is None:
                self._header = self._next_header()
            if self._header is None:
                return
            data_bytes = self._header.data_length or 0
            payload_bytes = self._header.payload_length or 0
            if len(self._buffer) < data_bytes + payload_bytes:
                return
            header, self._header = self._header, None
            data = _object(self._taken(data_bytes)) if data_bytes else {}
            yield Event(header.type, (header.data or {}) | data, self._taken(payload_bytes))

    def _next_header(self) -> _Header | None:
        end = self._buffer.find(b"\n", 0, _MOST_JSON_BYTES)
        if end < 0:
            if len(self._buffer) >= _MOST_JSON_BYTES:
                raise SessionError(
                    ErrorCode.MESSAGE_TOO_BIG, f"a header of more than {_MOST_JSON_BYTES} bytes"
                )
            return None
        line = self._taken(end + 1)
        try:
            header = _Header.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            code = ErrorCode.BAD_JSON if first["type"] == "json_invalid" else ErrorCode.BAD_MESSAGE
            raise SessionError(code, f"a header that is none: {first['msg']}") from error
        if (header.data_length or 0) > _MOST_JSON_BYTES:
            raise SessionError(ErrorCode.MESSAGE_TOO_BIG, f"data of more than {_MOST_JSON_BYTES} bytes")
        if (header.payload_length or 0) > self._most_payload_bytes:
            raise SessionError(
                ErrorCode.MESSAGE_TOO_BIG, f"a payload of more than {self._most_payload_bytes} bytes"
            )
        return header

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _object(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SessionError(ErrorCode.BAD_JSON, "data that is no JSON") from error
    if not isinstance(content, dict):
        raise SessionError(ErrorCode.BAD_MESSAGE, "data that is no JSON object")
    return content
