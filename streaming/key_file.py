"""The file of API keys: who may come in, and how much of the server each may take.

A key is 256 random bits, so that its bare SHA-256 gives nothing away and no salt or slow hash is needed. Keys
themselves are in no file.
"""

import hashlib
import os
import secrets
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voicewire.streaming.errors import StreamingError

# What is found by scanners of leaked secrets, and easily told from other keys.
_PREFIX = "vw_"

_HEADER = "# API keys of a voicewire server, which reads this again when it changes. See `voicewire keys`.\n"

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class KeyFileError(StreamingError):
    """The file of keys is missing or is not one."""


class Key(BaseModel):
    """One key's entry.

    Attributes:
        sha256: of the key, in hexadecimal.
        sessions: how many it may have at one time; None sets no limit.
        audio_s_per_minute: seconds of audio that it may send in a minute; None sets no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sessions: Annotated[int, Field(ge=1)] | None = None
    audio_s_per_minute: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: dict[KeyName, Key] = {}


def new_key() -> str:
    """A key that nobody can guess."""
    return _PREFIX + secrets.token_urlsafe(32)


def hashed(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> dict[str, Key]:
    """The keys by name. Raises KeyFileError."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).keys
    except OSError as error:
        raise KeyFileError(
            f"no keys at {path} ({error.strerror}): make one with `voicewire keys add NAME`"
        ) from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise KeyFileError(f"{path} is no file of keys: {where}: {error.errors()[0]['msg']}") from error
    except ValueError as error:
        raise KeyFileError(f"{path} is no file of keys: {error}") from error


def write_keys(path: Path, keys: Mapping[str, Key]) -> None:
    """Replaces the file at once, so that a server never reads half of it. Raises KeyFileError."""
    try:
        _File(keys=dict(keys))
    except ValidationError as error:
        raise KeyFileError("a key's name is 1 to 64 letters, digits, - and _") from error
    text = _HEADER + "".join(_section(name, key) for name, key in keys.items())
    try:
        # Readable for its owner alone, as mkstemp makes it.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from error


def _section(name: str, key: Key) -> str:
    fields = key.model_dump(exclude_none=True)
    lines = (
        f'{field} = "{value}"' if field == "sha256" else f"{field} = {value}"
        for field, value in fields.items()
    )
    return "\n".join(["", f"[keys.{name}]", *lines, ""])
