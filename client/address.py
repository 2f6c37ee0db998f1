"""Where a server is: one address as people type it, and the URLs that follow from it."""

from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from voicewire.client.errors import ConnectionFailed

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765
STREAM_PATH = "/v1/stream"

_SECURE = {"ws": False, "http": False, "wss": True, "https": True}


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address.

    >>> Address.parse("captions.example:9000").stream_url
    'ws://captions.example:9000/v1/stream'
    >>> Address.parse("https://captions.example").http_url("/readyz")
    'https://captions.example/readyz'
    """

    authority: str
    secure: bool = False
    path: str = STREAM_PATH

    @classmethod
    def parse(cls, url: str) -> "Address":
        """From ``ws://``, ``wss://``, ``http://`` or ``https://`` URLs or a bare ``host`` or ``host:port``.

        A URL without a path means the native protocol's path; a bare host means the default port.
        Raises ConnectionFailed where the text is no such address.
        """
        bare = "://" not in url
        try:
            parts = urlsplit(f"ws://{url}" if bare else url)
            port = parts.port
        except ValueError as error:
            raise ConnectionFailed(f"{url!r} is no address of a server: {error}") from error
        if parts.scheme not in _SECURE or not parts.hostname:
            raise ConnectionFailed(
                f"{url!r} is no address of a server: write ws://HOST:PORT, wss://HOST, or HOST:PORT"
            )
        authority = parts.netloc if port or not bare else f"{parts.netloc}:{DEFAULT_PORT}"
        return cls(authority, _SECURE[parts.scheme], STREAM_PATH if parts.path in ("", "/") else parts.path)

    @property
    def host(self) -> str:
        return urlsplit(f"//{self.authority}").hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(f"//{self.authority}").port or (443 if self.secure else 80)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, which no proxy leads to."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def stream_url(self) -> str:
        """The websocket URL of the native protocol."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path}"

    def returning(self, server: str | None) -> "Address":
        """The same for a client that comes back, with the server's name, by which a proxy finds it.

        >>> Address.parse("captions.example:9000").returning("one").stream_url
        'ws://captions.example:9000/v1/stream?resume=one'
        """
        name = "" if server is None else f"={quote(server, safe='')}"
        return replace(self, path=f"{self.path}?resume{name}")

    def http_url(self, path: str) -> str:
        """The URL of one of the server's plain HTTP pages, such as ``/readyz``."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{path}"


DEFAULT_URL = f"ws://{DEFAULT_HOST}:{DEFAULT_PORT}"
