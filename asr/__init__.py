"""voicewire.asr: audio to timed words, as a stream.

The names below are loaded when they are first asked for: events and settings alone need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicewire.asr.errors import AsrError
    from voicewire.asr.events import DecoderReset, Endpoint, Event, Flushed, SpeechStarted, Transcript, Word
    from voicewire.asr.offline import OfflineTranscriber
    from voicewire.asr.resampler import Resampler
    from voicewire.asr.settings import StreamSettings
    from voicewire.asr.transcriber import BatchTranscriber, StreamingTranscriber

_HOMES = {
    "AsrError": "errors",
    "BatchTranscriber": "transcriber",
    "DecoderReset": "events",
    "Endpoint": "events",
    "Event": "events",
    "Flushed": "events",
    "OfflineTranscriber": "offline",
    "Resampler": "resampler",
    "SpeechStarted": "events",
    "StreamSettings": "settings",
    "StreamingTranscriber": "transcriber",
    "Transcript": "events",
    "Word": "events",
}

__all__ = [
    "AsrError",
    "BatchTranscriber",
    "DecoderReset",
    "Endpoint",
    "Event",
    "Flushed",
    "OfflineTranscriber",
    "Resampler",
    "SpeechStarted",
    "StreamSettings",
    "StreamingTranscriber",
    "Transcript",
    "Word",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
