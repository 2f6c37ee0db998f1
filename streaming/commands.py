"""What a session asks of the engine, and what the engine reports to it: the two small languages between them."""

from dataclasses import dataclass

from voicewire.asr.events import Event
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.decoding import Samples
from voicewire.streaming.messages import ErrorCode


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Begin a stream in the slot that was reserved; answered by Opened or Failed."""

    settings: StreamSettings


@dataclass(frozen=True, slots=True, eq=False)
class PushAudio:
    """Mono float32 at 16 kHz, shape (samples,)."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class FlushStream:
    """Commit every word of the audio pushed so far; answered by an event Flushed(tag)."""

    tag: str


@dataclass(frozen=True, slots=True)
class ConfigureStream:
    """Settings for the audio from here on."""

    settings: StreamSettings


@dataclass(frozen=True, slots=True)
class CloseStream:
    """The session is over and wants nothing more; the slot is free once the engine has seen this."""


Command = OpenStream | PushAudio | FlushStream | ConfigureStream | CloseStream


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream has its slot."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The stream's events, in order, and how many of its samples have been looked at."""

    events: tuple[Event, ...]
    processed_samples: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream is over and its slot is free."""

    code: ErrorCode
    message: str


Report = Opened | Progress | Failed
