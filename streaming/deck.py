"""Where a server's recordings of sessions go, and how much of the disk they may take."""

import importlib.metadata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from voicewire.asr.identity import Identity
from voicewire.streaming.errors import FolderError
from voicewire.streaming.logs import get_logger
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.tape import Head, Tape

log = get_logger(__name__)

# What words depend on, and the bounds that a session was held to.
_RECORDED = {
    "model", "adapter", "device", "precision", "chunk_ms", "commit_ms", "codecs", "message_bytes", "buffered_s",
    "pending_flushes", "outgoing_items",
}  # fmt: skip


class Source(Protocol):
    """What makes the words of a server."""

    @property
    def model_name(self) -> str: ...
    @property
    def identity(self) -> Identity: ...


class Deck:
    """The tapes of one server.

    Args:
        settings: the folder, which is made, and the bounds; without a folder nothing is recorded.
        source: what makes the words.

    Raises FolderError where the folder cannot be made.
    """

    def __init__(self, settings: ServerSettings, source: Source) -> None:
        self._folder = settings.record
        self._settings = settings
        self._source = source
        self._left_bytes = settings.record_total_bytes
        if self._folder is not None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise FolderError(
                    f"sessions cannot be recorded in {self._folder}: {error.strerror}"
                ) from error
            log.warning("recording", folder=str(self._folder), bytes=self._left_bytes)

    def tape(self, session_id: str, clock: Callable[[], float]) -> Tape:
        """A tape for a session that begins; a blank one where none is wanted, or no room is left."""
        if self._folder is None or self._left_bytes <= 0:
            return Tape(None)
        now = datetime.now(UTC)
        identity, began = self._source.identity, clock()
        head = Head(
            session_id=session_id,
            version=importlib.metadata.version("voicewire"),
            began=now.isoformat(timespec="milliseconds"),
            model=self._source.model_name,
            weights=identity.model,
            adapter=identity.adapter,
            dtype=identity.dtype,
            settings=self._settings.model_dump(mode="json", include=_RECORDED),
        )
        most_bytes = self._settings.record_session_bytes
        return Tape(self._path(now, session_id), head, most_bytes, self._spend, lambda: clock() - began)

    def _path(self, now: datetime, session_id: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{now:%Y%m%dT%H%M%S}-{session_id}.jsonl"

    def _spend(self, size: int) -> bool:
        had = self._left_bytes
        self._left_bytes -= size
        if self._left_bytes <= 0 < had:
            log.warning(
                "recording_stopped", folder=str(self._folder), reason="record_total_bytes are written"
            )
        return self._left_bytes > 0
