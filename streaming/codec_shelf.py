"""Which codecs a server has: those that its operator named, or Lyra where nothing has to be fetched for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from voicewire import codecs
from voicewire.codecs.codec import Codec
from voicewire.codecs.errors import CodecError
from voicewire.codecs.words import FeatureSource
from voicewire.streaming.errors import SessionError
from voicewire.streaming.logs import get_logger
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.settings import ServerSettings

log = get_logger(__name__)

AUTO, NONE = "auto", "none"
DEFAULT = "lyra_v2"

# Called once, in the engine's thread, before the first session.
CodecLoader = Callable[[], Mapping[str, Codec]]


@dataclass(frozen=True)
class _Encoder:
    """The recogniser's encoder once more, for codecs of words: the recogniser may be in another process."""

    settings: ServerSettings

    @property
    def feature_source(self) -> FeatureSource:
        # Not before it is needed: this imports torch.
        from voicewire.asr import features

        settings = self.settings
        return features.FeatureSource.load(
            settings.model, adapter=settings.adapter, device=settings.device, precision=settings.precision
        )


def codec_loader(settings: ServerSettings) -> CodecLoader:
    """Loads the codecs that the settings name. It raises CodecError where one of those cannot be had."""

    def load() -> Mapping[str, Codec]:
        names = [name for name in settings.codecs if name not in (AUTO, NONE)]
        loaded = {name: codecs.load(name, transcriber=_Encoder(settings)) for name in names}
        if AUTO in settings.codecs and DEFAULT not in loaded:
            loaded |= _default()
        return loaded

    return load


def unavailable(name: str, loaded: Mapping[str, Codec]) -> SessionError:
    """What to say of a codec that is not loaded."""
    names = ", ".join(sorted(loaded)) or "none"
    return SessionError(
        ErrorCode.CODEC_UNAVAILABLE, f"the codec {name[:40]!r} is not loaded here; those loaded: {names}"
    )


def _default() -> Mapping[str, Codec]:
    """From the cache; nothing where it is not there, since nobody asked for it by name."""
    try:
        from voicewire.codecs.lyra_v2 import FILES

        if all(file.kept.is_file() for file in FILES):
            return {DEFAULT: codecs.load(DEFAULT, FILES[0].kept.parent)}
        reason = "its weights are not in the cache"
    except (CodecError, ModuleNotFoundError) as error:
        reason = str(error)
    log.info("codec_not_loaded", codec=DEFAULT, reason=reason, advice=f"voicewire serve --codec {DEFAULT}")
    return {}
