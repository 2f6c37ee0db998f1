"""Sessions on their way from one server process to the next: a folder with a file for each, gone once taken up.

A file is a line that names the format, an HMAC-SHA256 of all behind it, the length of what follows, the session as
JSON, and the stream as the recogniser's snapshot (safetensors). The key lies beside the files, for the server's
user alone: nobody who cannot read it can make a file that is believed. Nothing is unpickled.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from voicewire.streaming.errors import FolderError, HandoverError
from voicewire.streaming.logs import get_logger
from voicewire.streaming.saved_session import SavedSession

log = get_logger(__name__)

_MAGIC = b"voicewire.handover.1\n"
_SUFFIX = ".session"
_KEY_FILE = "handover.key"
_MAC_BYTES = 32
_LENGTH_BYTES = 8
# A session's JSON and its stream: a window of any model's state is far below this.
_MOST_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class Parcel:
    """A session, and its stream's snapshot."""

    session: SavedSession
    snapshot: bytes


class Elsewhere(Protocol):
    """Other server processes at work, among which a session may move."""

    def put(self, parcel: Parcel) -> None:
        """Leaves one for them. Raises OSError."""

    async def take(self, token: str) -> Parcel | None:
        """The session with this token, which one of them leaves for it; None where nobody has it.

        Raises SessionError where it cannot be had now.
        """


class Handover:
    """A folder of parcels.

    Args:
        folder: made where it is not there, for its owner alone.
        good_for_s: older parcels are thrown away: their clients have given up.

    Raises FolderError where the folder or its key cannot be made or read.
    """

    def __init__(self, folder: Path, good_for_s: float) -> None:
        self._folder = folder
        self._good_for_s = good_for_s
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._key = _key(folder / _KEY_FILE)
        except OSError as error:
            raise FolderError(f"sessions cannot be handed over in {folder}: {error.strerror}") from error

    def put(self, parcel: Parcel) -> None:
        """Writes one. Raises OSError."""
        path = self._folder / f"{parcel.session.session_id}{_SUFFIX}"
        unfinished = path.with_suffix(".part")
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(packed(parcel, self._key))
        unfinished.replace(path)

    def take(self) -> Iterator[Parcel]:
        """Every parcel that is there, each file deleted before it is given; what is old or damaged is logged."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                age_s = time.time() - path.stat().st_mtime
                data = path.read_bytes() if path.stat().st_size <= _MOST_BYTES else b""
                path.unlink()
                if age_s > self._good_for_s:
                    raise HandoverError(f"it is {age_s:.0f} s old: its client has given up")
                parcel = unpacked(data, self._key)
            except (OSError, HandoverError) as error:
                log.warning("handover_not_taken", file=path.name, reason=str(error))
            else:
                yield parcel
        for left_over in self._folder.glob("*.part"):
            with suppress(OSError):
                left_over.unlink()


def packed(parcel: Parcel, key: bytes) -> bytes:
    """A parcel as a file."""
    session = parcel.session.model_dump_json().encode()
    body = len(session).to_bytes(_LENGTH_BYTES, "little") + session + parcel.snapshot
    return _MAGIC + _mac(key, body) + body


def unpacked(data: bytes, key: bytes) -> Parcel:
    """Raises HandoverError for a file that is damaged, forged or of another version."""
    if not data.startswith(_MAGIC):
        raise HandoverError(f"it is no {_MAGIC.decode().strip()}")
    mac, body = data[len(_MAGIC) : len(_MAGIC) + _MAC_BYTES], data[len(_MAGIC) + _MAC_BYTES :]
    if not hmac.compare_digest(mac, _mac(key, body)):
        raise HandoverError("it is damaged, or was not written by this server")
    length = int.from_bytes(body[:_LENGTH_BYTES], "little")
    session, snapshot = body[_LENGTH_BYTES : _LENGTH_BYTES + length], body[_LENGTH_BYTES + length :]
    try:
        return Parcel(SavedSession.model_validate_json(session), snapshot)
    except ValidationError as error:
        raise HandoverError(f"its session is of another version: {error.errors()[0]['msg']}") from error


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.new(key, _MAGIC + body, hashlib.sha256).digest()


def _key(path: Path) -> bytes:
    """The folder's key, made at first use."""
    with suppress(FileExistsError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as file:
            file.write(secrets.token_bytes(_MAC_BYTES))
    return path.read_bytes()
