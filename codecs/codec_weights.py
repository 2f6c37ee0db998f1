"""Where codecs' weights come from: a path, the cache, their publisher's own download.

Whatever the source, the bytes that are given were hashed and are those that the codec was built for: tokens mean
nothing to a codec with other weights.
"""

import hashlib
import logging
import os
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from platformdirs import user_cache_path

from voicewire.codecs.errors import CodecWeightsError

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all (0 where not known) and what is being done."""

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One published file.

    Attributes:
        codec: the codec that needs it; the cache has a folder of that name.
        name: what the file is called.
        url: where its publisher offers it.
        sha256: its SHA-256 in hexadecimal, or as many of the first digits as the publisher tells.
        most_bytes: a security limit: nothing larger is read or downloaded.
    """

    codec: str
    name: str
    url: str
    sha256: str
    most_bytes: int

    @property
    def kept(self) -> Path:
        """Where the cache has it, or will have it."""
        return cache_folder() / self.codec / self.name


def cache_folder() -> Path:
    """Where downloads are kept: `codecs` in `VOICEWIRE_CACHE`, or in the user's cache folder."""
    override = os.environ.get("VOICEWIRE_CACHE")
    return (Path(override).expanduser() if override else user_cache_path("voicewire")) / "codecs"


def read_weights(file: WeightsFile, path: Path | None = None, progress: Progress | None = None) -> bytes:
    """The file's bytes, verified.

    Args:
        file: which one.
        path: it, or a folder that holds it; where given, nothing else is looked at. None: the cache, then the
            download, which is kept in the cache.
        progress: told how a download gets on.

    Raises:
        CodecWeightsError: it cannot be had, or is not what it should be; says what to do.
    """
    if path is not None:
        return _read_path(file, Path(path).expanduser())
    if file.kept.is_file():
        try:
            return _read_path(file, file.kept)
        except CodecWeightsError as error:
            log.warning("weights in the cache are downloaded anew: %s", error)
    data = _download(file, file.kept, progress)
    _keep(data, file.kept)
    return data


def _read_path(file: WeightsFile, path: Path) -> bytes:
    if path.is_dir():
        path = path / file.name
    try:
        with path.open("rb") as stream:
            data = stream.read(file.most_bytes + 1)
    except OSError as error:
        raise CodecWeightsError(
            f"cannot read {path} ({error.strerror}): give the path of {file.name}, or of its folder"
        ) from error
    if not _is_right(file, data):
        raise CodecWeightsError(
            f"{path} is not the {file.name} that {file.codec} was built for: it is offered at {file.url}"
        )
    return data


def _is_right(file: WeightsFile, data: bytes) -> bool:
    return len(data) <= file.most_bytes and hashlib.sha256(data).hexdigest().startswith(file.sha256)


def _download(file: WeightsFile, kept: Path, progress: Progress | None) -> bytes:
    try:
        data = _fetch(file, progress)
    except (OSError, HTTPException) as error:  # urllib's errors are OSErrors
        why = str(getattr(error, "reason", error)) or type(error).__name__
    else:
        if _is_right(file, data):
            return data
        why = "what came is another file, larger, or cut short"
    raise CodecWeightsError(
        f"no weights for {file.codec}: {file.name} is not in the cache, and cannot be downloaded ({why}). "
        f"What to do: fetch {file.url} by other means and put it at {kept}, or give a path to it"
    )


def _fetch(file: WeightsFile, progress: Progress | None) -> bytes:
    """At most one chunk more than `most_bytes`."""
    data = bytearray()
    with urllib.request.urlopen(file.url, timeout=_TIMEOUT_S) as response:
        total = int(response.headers.get("Content-Length") or 0)
        while len(data) <= file.most_bytes and (piece := response.read(_CHUNK)):
            data += piece
            if progress is not None:
                progress(len(data), total, f"downloading {file.codec}'s {file.name}")
    return bytes(data)


def _keep(data: bytes, kept: Path) -> None:
    """Writes all of the file or nothing, whoever else writes it at the same time."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            part = Path(folder) / kept.name
            part.write_bytes(data)
            part.replace(kept)
    except OSError as error:
        # A read-only disk costs a download at every start, no more.
        log.warning("cannot keep weights at %s (%s): set VOICEWIRE_CACHE", kept, error)
