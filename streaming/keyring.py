"""The keys that are good at this moment: read again whenever their file has changed."""

import hmac
from pathlib import Path

from voicewire.streaming.key_file import Key, KeyFileError, hashed, read_keys
from voicewire.streaming.logs import get_logger

log = get_logger(__name__)

# Which file it is, and what is in it: size and time tell an edit, the inode a replacement.
_Stamp = tuple[int, int, int]


class KeyRing:
    """The keys of a file. Raises KeyFileError where there is none at first.

    A file that is gone or damaged later leaves the keys as they were, and the log says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._look()
        self._keys = read_keys(path)

    def owner(self, presented: str | None) -> tuple[str, Key] | None:
        """Whose key this is, with its entry; None where it is nobody's."""
        self._refresh()
        digest = hashed(presented or "")
        found = None
        # All of them, whichever it is: how long this takes says nothing of the keys.
        for name, key in self._keys.items():
            if hmac.compare_digest(key.sha256, digest):
                found = name, key
        return found

    def named(self, name: str) -> Key | None:
        """The entry of a name."""
        self._refresh()
        return self._keys.get(name)

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(self._path)
        except KeyFileError as error:
            log.error("keys_not_read", reason=str(error), advice="the keys from before stay good")
        else:
            log.info("keys_read", keys=len(self._keys))

    def _look(self) -> _Stamp | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
