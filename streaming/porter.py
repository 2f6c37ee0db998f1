"""Who may come in: pages of an origin that is allowed, clients with a key that is good and not used up."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from voicewire.streaming.allowance import Allowance
from voicewire.streaming.errors import SessionError
from voicewire.streaming.key_file import Key
from voicewire.streaming.keyring import KeyRing
from voicewire.streaming.keys import presented_key
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.settings import ServerSettings

# HTTP's status for what the porter says; whatever else goes wrong at a handshake may be over soon, which is 503.
STATUS = {ErrorCode.UNAUTHORIZED: 401, ErrorCode.ORIGIN_REFUSED: 403, ErrorCode.KEY_LIMIT: 429}

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a key.

    Attributes:
        name: of the key.
        allowance: of the key's audio, which all its sessions share; None where there is no limit.
    """

    name: str
    allowance: Allowance | None


class Porter:
    """Stands before every way in. Raises KeyFileError where the settings name a file of keys that is none."""

    def __init__(self, settings: ServerSettings) -> None:
        self._keys = None if settings.api_keys is None else KeyRing(settings.api_keys)
        self._origins = {origin.lower().rstrip("/") for origin in settings.allow_origins}
        self._local_alone = settings.host in _LOOPBACK and self._keys is None
        self._sessions: Counter[str] = Counter()
        self._allowances: dict[str, Allowance] = {}

    def check(self, headers: Mapping[str, str]) -> tuple[str, Key] | None:
        """Whose key a request brings, with its entry; None where no keys are asked for. Raises SessionError."""
        self._check_origin(headers)
        if self._keys is None:
            return None
        owner = self._keys.owner(presented_key(headers))
        if owner is None:
            raise SessionError(
                ErrorCode.UNAUTHORIZED, "this server asks for an API key, and this is none that it knows"
            )
        return owner

    @contextlib.contextmanager
    def admitted(self, headers: Mapping[str, str]) -> Iterator[Visitor | None]:
        """Somebody is in for as long as the block lasts; None where no keys are asked for. Raises SessionError."""
        owner = self.check(headers)
        if owner is None:
            yield None
            return
        name, key = owner
        if key.sessions is not None and self._sessions[name] >= key.sessions:
            raise SessionError(
                ErrorCode.KEY_LIMIT, f"this key may have {key.sessions} sessions at one time: end another one"
            )
        with self._counted(name, key) as visitor:
            yield visitor

    @contextlib.contextmanager
    def returned(self, name: str | None) -> Iterator[Visitor | None]:
        """Somebody who was let in by another process, by the name of the key, for as long as the block lasts.

        Raises SessionError where that key is not good any more.
        """
        if self._keys is None:
            yield None
            return
        key = self._keys.named(name or "")
        if name is None or key is None:
            raise SessionError(ErrorCode.UNAUTHORIZED, "the session's key is not good any more")
        with self._counted(name, key) as visitor:
            yield visitor

    @contextlib.contextmanager
    def _counted(self, name: str, key: Key) -> Iterator[Visitor]:
        self._sessions[name] += 1
        try:
            yield Visitor(name, self._allowance(name, key))
        finally:
            self._sessions[name] -= 1

    def _allowance(self, name: str, key: Key) -> Allowance | None:
        """What is left to a key is shared by its sessions, and outlives them."""
        if key.audio_s_per_minute is None:
            return None
        allowance = self._allowances.get(name)
        if allowance is None or allowance.per_minute_s != key.audio_s_per_minute:
            allowance = self._allowances[name] = Allowance(key.audio_s_per_minute)
        return allowance

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        """A browser says which page asks; other clients say nothing, and are no danger to anybody's browser."""
        origin = headers.get("origin", "").lower()
        if not origin or "*" in self._origins or origin in self._origins:
            return
        host = headers.get("host", "").lower()
        # A foreign page can have its own name lead to this machine; then it is of the same origin, by that name.
        foreign_name = self._local_alone and urlsplit(origin).hostname not in _LOOPBACK
        if urlsplit(origin).netloc != host or foreign_name:
            raise SessionError(
                ErrorCode.ORIGIN_REFUSED,
                f"pages of {origin[:100]} may not come in here: the operator can allow them with --allow-origin",
            )
