"""A session on record: what its client sent and what it was told, line by line in a file, to be played again.

docs/operations.md has the format. Each line is JSON, `["CRC-32", {"at": seconds, KIND: content}]`, and stands for
itself: a file that is damaged or cut off is known as such, and what a server wrote before it died can be read.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from voicewire.asr.identity import Identity
from voicewire.streaming.errors import TapeError
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import AckMessage, ClientMessage, Ready, Resumed, ServerMessage

log = get_logger(__name__)

FORMAT = "voicewire.tape.1"
# Room for what is written when a tape is full, and when it ends.
_LAST_BYTES = 200
_FRAME = '["{crc:08x}", {body}]\n'
_BODY_AT = len('["00000000", ')


class Kind(StrEnum):
    """What a line holds."""

    HEAD = "head"  # of the whole session; the first line
    TEXT = "text"  # from the client: a message as it came
    DATA = "data"  # from the client: a binary one, in base64
    SAID = "said"  # to the client: a message
    MADE = "made"  # to the client: a binary one, in base64
    EFFORT = "effort"  # what the server did for the session from a sample on
    FULL = "full"  # the tape's bound was met: nothing of what followed is here
    ENDED = "ended"  # how the session ended; the last line


@dataclass(frozen=True, slots=True)
class Head:
    """What was at work.

    Attributes:
        session_id: of the session.
        version: of voicewire.
        began: when, in UTC, as ISO 8601 has it.
        model: its name.
        weights, adapter, dtype: of the recogniser's identity, which a replay must share to be exact.
        settings: those of the server that words depend on.
    """

    session_id: str
    version: str
    began: str
    model: str
    weights: str
    adapter: str
    dtype: str
    settings: Mapping[str, Any]

    @property
    def identity(self) -> Identity:
        """Of the recogniser."""
        return Identity(self.weights, self.adapter, self.dtype)


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `content` is as its kind says, in bytes where that is base64."""

    at_s: float
    kind: Kind
    content: Any


class Tape:
    """Takes one session down.

    Args:
        path: of the file, which is made; None takes nothing down.
        head: what stands first.
        most_bytes: of the file.
        spend: called with the bytes of each line; False where there is no room for it.
        clock: seconds since the session began.
    """

    def __init__(
        self,
        path: Path | None,
        head: Head | None = None,
        most_bytes: int = 0,
        spend: Callable[[int], bool] = lambda size: True,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._path = path
        self._most_bytes = most_bytes - _LAST_BYTES
        self._spend = spend
        self._clock = clock
        self._bytes = 0
        # Messages that were told and can be told again: those told so far, and those that stand on the tape.
        self._told = self._kept = 0
        self._file: BinaryIO | None = None
        if path is not None and head is not None:
            try:
                # What people say is for its owner alone.
                path.touch(mode=0o600)
                self._file = path.open("ab", buffering=0)
            except OSError as error:
                log.warning("recording_failed", file=str(path), reason=str(error))
            self._write(Kind.HEAD, {"format": FORMAT, **asdict(head)})

    # ---- from the client

    def heard(self, message: ClientMessage | str | bytes) -> None:
        """What the client sent."""
        if self._file is None:
            return
        if isinstance(message, bytes):
            self._write(Kind.DATA, _base64(message))
        else:
            self._write(Kind.TEXT, message if isinstance(message, str) else message.model_dump_json())

    # ---- to the client

    def told(self, message: ServerMessage | bytes) -> None:
        """What the client is told; what it is told again after a lost connection stands here once."""
        if self._file is None or isinstance(message, Resumed | AckMessage):
            return
        if isinstance(message, Ready):
            # A ticket is as good as the session itself.
            self._write(Kind.SAID, message.model_copy(update={"resume": None}).model_dump(mode="json"))
            return
        self._told += 1
        if self._told <= self._kept:
            return
        self._kept = self._told
        if isinstance(message, bytes):
            self._write(Kind.MADE, _base64(message))
        else:
            self._write(Kind.SAID, message.model_dump(mode="json"))

    def resumed(self, received: int) -> None:
        """The client has so many messages, and is told the others again."""
        self._told = received

    # ---- of the session

    def eased(self, rung: int, from_samples: int) -> None:
        """What is done for the stream changes, from a sample on."""
        self._write(Kind.EFFORT, {"rung": rung, "from_samples": from_samples})

    def end(self, how: str) -> None:
        """The session is over: an error's code, `done` or `client_left`."""
        self._write(Kind.ENDED, how, last=True)
        self._stop()

    # ---- inside

    def _write(self, kind: Kind, content: Any, *, last: bool = False) -> None:
        if self._file is None:
            return
        line = _line(round(self._clock(), 4), kind, content)
        room = last or self._bytes + len(line) <= self._most_bytes
        try:
            if room and self._spend(len(line)):
                self._file.write(line)
                self._bytes += len(line)
                return
            log.warning("recording_full", file=str(self._path), bytes=self._bytes)
            self._file.write(_line(round(self._clock(), 4), Kind.FULL, self._bytes))
        except OSError as error:
            log.warning("recording_failed", file=str(self._path), reason=str(error))
        self._stop()

    def _stop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_tape(path: Path, *, partial: bool = False) -> tuple[Head, list[Line]]:
    """The head, and the lines behind it.

    Args:
        path: of the file.
        partial: what a server wrote before it died will do: the end may be missing.

    Raises TapeError, which says what is wrong and where.
    """
    lines = list(_read(path, partial))
    if not lines or lines[0].kind is not Kind.HEAD:
        raise TapeError(f"{path} is no recording of a session: nothing of one stands in its first line")
    if lines[-1].kind not in (Kind.ENDED, Kind.FULL) and not partial:
        raise TapeError(
            f"{path} is cut off behind line {len(lines)}: the session's end is not there; --partial plays what is"
        )
    facts = dict(lines[0].content)
    if facts.pop("format", None) != FORMAT:
        raise TapeError(f"{path} has a format that this version does not read: it reads {FORMAT}")
    try:
        return Head(**facts), lines[1:]
    except TypeError as error:
        raise TapeError(f"{path}: its first line is not as {FORMAT} has it: {error}") from error


def _read(path: Path, partial: bool) -> Iterator[Line]:
    try:
        raw_lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise TapeError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, raw in enumerate(raw_lines, 1):
        try:
            if not raw.endswith(b"\n"):
                raise ValueError("it is cut off")
            yield _parsed(raw)
        except (ValueError, KeyError, TypeError, binascii.Error, UnicodeDecodeError) as error:
            if partial and number == len(raw_lines):
                return
            raise TapeError(f"{path}, line {number} is damaged: {error}") from error


def _line(at_s: float, kind: Kind, content: Any) -> bytes:
    body = json.dumps({"at": at_s, kind: content}, ensure_ascii=False)
    return _FRAME.format(crc=zlib.crc32(body.encode()), body=body).encode()


def _parsed(raw: bytes) -> Line:
    crc, body = json.loads(raw)
    if int(crc, 16) != zlib.crc32(raw[_BODY_AT:-2]):
        raise ValueError("its checksum is wrong")
    at_s = float(body.pop("at"))
    [(name, content)] = body.items()
    kind = Kind(name)
    if kind in (Kind.DATA, Kind.MADE):
        content = base64.b64decode(content, validate=True)
    return Line(at_s, kind, content)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
