"""Which codecs there are. Adding one is one file and one line here."""

from collections.abc import Callable, Mapping

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import UnknownCodecError

# Name -> what loads it. No codec is part of this release.
_LOADERS: Mapping[str, Callable[[], Codec]] = {}


def available() -> list[str]:
    """The names that `load` knows."""
    return sorted(_LOADERS)


def load(name: str) -> Codec:
    """The codec called `name`, with its weights.

    Raises:
        UnknownCodecError: there is none of that name; the message names those there are.
    """
    if name not in _LOADERS:
        known = ", ".join(available()) or "none: this release holds the interface alone"
        raise UnknownCodecError(f"no codec is called {name!r}; there are: {known}")
    return _LOADERS[name]()
