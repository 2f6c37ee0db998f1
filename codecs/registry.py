"""Which codecs there are. Adding one is one file and one line here."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import CodecError, UnknownCodecError


def _of(module: str) -> Callable[[Path | None], Codec]:
    """That module's `load`, imported when a codec is wanted: each brings packages of its own."""

    def load_it(weights: Path | None) -> Codec:
        try:
            found: Codec = import_module(f"voicewire.codecs.{module}").load(weights)
        except ModuleNotFoundError as error:
            raise CodecError(
                f"{error.name} is not installed: pip install 'voicewire[server,codecs]'"
            ) from error
        return found

    return load_it


# Name -> what loads it, from the path of its weights or, where that is None, from wherever they are found.
_LOADERS: Mapping[str, Callable[[Path | None], Codec]] = {
    "encodec_24khz": _of("encodec_24khz"),
    "lyra_v2": _of("lyra_v2"),
}


def available() -> list[str]:
    """The names that `load` knows."""
    return sorted(_LOADERS)


def load(name: str, weights: Path | None = None) -> Codec:
    """The codec called `name`.

    Args:
        name: one of `available()`.
        weights: its weights, a file or a folder; None: the cache, or a download where the codec has one.

    Raises:
        CodecError: a package that it needs is not installed.
        CodecWeightsError: the weights cannot be had, or are not what they should be.
        UnknownCodecError: there is none of that name; the message names those there are.
    """
    if name not in _LOADERS:
        known = ", ".join(available())
        raise UnknownCodecError(f"no codec is called {name!r}; there are: {known}")
    return _LOADERS[name](weights)
