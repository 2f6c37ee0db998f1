"""Which codecs there are. Adding one is one file and one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import CodecError, UnknownCodecError
from voicewire.codecs.words import Transcriber


@dataclass(frozen=True)
class _Entry:
    """Where a codec is found.

    Attributes:
        module: imported when the codec is wanted, as each brings packages of its own; its `load` takes the path of
            the weights or, where that is None, finds them.
        of_words: whether `load` takes a transcriber too. The weights of such a codec come with voicewire.
    """

    module: str
    of_words: bool = False

    def load(self, weights: Path | None, transcriber: Transcriber | None) -> Codec:
        try:
            load: Callable[..., Codec] = import_module(f"voicewire.codecs.{self.module}").load
        except ModuleNotFoundError as error:
            raise CodecError(
                f"{error.name} is not installed: pip install 'voicewire[server,codecs]'"
            ) from error
        return load(weights, transcriber) if self.of_words else load(weights)


_ENTRIES: Mapping[str, _Entry] = {
    "encodec_24khz": _Entry("encodec_24khz"),
    "lyra_v2": _Entry("lyra_v2"),
    "whisper_semantic": _Entry("whisper_semantic", of_words=True),
}


def available() -> list[str]:
    """The names that `load` knows."""
    return sorted(_ENTRIES)


def at_hand(name: str) -> bool:
    """Whether its weights come with voicewire or lie in the cache, so that `load` fetches nothing."""
    # Not before it is needed: a bare install has no platformdirs.
    from voicewire.codecs.codec_weights import cache_folder

    return _entry(name).of_words or (cache_folder() / name).is_dir()


def load(name: str, weights: Path | None = None, *, transcriber: Transcriber | None = None) -> Codec:
    """The codec called `name`.

    Args:
        name: one of `available()`.
        weights: its weights, a file or a folder; None: the cache, or a download where the codec has one.
        transcriber: whose encoder a codec of words is to share; None: it loads one when it needs it.

    Raises:
        CodecError: a package that it needs is not installed.
        CodecWeightsError: the weights cannot be had, or are not what they should be.
        UnknownCodecError: there is none of that name; the message names those there are.
    """
    return _entry(name).load(weights, transcriber)


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        known = ", ".join(available())
        raise UnknownCodecError(f"no codec is called {name!r}; there are: {known}")
    return _ENTRIES[name]
