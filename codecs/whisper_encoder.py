"""Where the codecs meet the recogniser: the encoder for whisper_semantic, where nobody brings one."""

from functools import cache

from voicewire.asr.errors import AsrError
from voicewire.asr.features import FeatureSource
from voicewire.codecs.errors import CodecWeightsError


@cache
def load_encoder() -> FeatureSource:
    """Whisper base with the shipped adapter, once per process. Raises CodecWeightsError."""
    try:
        return FeatureSource.load()
    except AsrError as error:
        raise CodecWeightsError(str(error)) from error
