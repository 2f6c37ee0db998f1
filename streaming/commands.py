"""What a session asks of the engine, and what the engine reports to it: the two small languages between them."""

from dataclasses import dataclass, field
from enum import Enum, auto

from voicewire.asr.events import Event, Word
from voicewire.asr.settings import StreamSettings
from voicewire.asr.stretch import Stretch
from voicewire.codecs.tokens import Tokens
from voicewire.codecs.words import Heard
from voicewire.streaming.decoding import Samples
from voicewire.streaming.ladder import Rung
from voicewire.streaming.messages import ErrorCode


class Part(Enum):
    """What can be made of a session's audio; each part is made at its own pace."""

    WORDS = auto()
    TOKENS = auto()


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What a codec is to make of the audio.

    Attributes:
        codec: its name.
        codebooks: codes per frame.
        tick_ms: how often new audio is encoded.
    """

    codec: str
    codebooks: int
    tick_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class StreamState:
    """A recogniser's stream on its way to another process.

    Attributes:
        snapshot: what the recogniser knows of it.
        pushed_samples, processed_samples: at 16 kHz: given to it, and looked at by it.
    """

    snapshot: bytes
    pushed_samples: int
    processed_samples: int


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Begin a stream in the slot that was reserved; each part that is asked for answers Opened or Failed.

    Attributes:
        settings: for the recogniser; None where no words are wanted.
        tokens: for the codec; None where no tokens are wanted.
        takes_tokens: PushTokens comes instead of PushAudio, to be decoded or read.
        state: of a stream to go on with, without an answer; None begins one.
    """

    settings: StreamSettings | None
    tokens: TokenSettings | None = None
    takes_tokens: bool = False
    state: StreamState | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PushAudio:
    """Mono float32 at 16 kHz, shape (samples,)."""

    samples: Samples


@dataclass(frozen=True, slots=True, eq=False)
class PushTokens:
    """The next tokens of the stream, of a codec that is loaded."""

    tokens: Tokens


@dataclass(frozen=True, slots=True, eq=False)
class PushFeatures:
    """What tokens of words are read as: the recogniser has it instead of audio, from the stream's beginning on."""

    heard: Heard


@dataclass(frozen=True, slots=True)
class FlushStream:
    """Give every word and token of what was pushed so far; answered by an event Flushed(tag) and in an Encoded.

    Attributes:
        ends: nothing follows, so that the codec's last frame is padded; else its stream goes on without a seam.
    """

    tag: str
    ends: bool = False


@dataclass(frozen=True, slots=True)
class ConfigureStream:
    """Settings for the audio from here on."""

    settings: StreamSettings
    tokens: TokenSettings | None = None


@dataclass(frozen=True, slots=True)
class SetEffort:
    """From a sample on, what is done for the stream is that of this rung; for a replay, before its audio comes."""

    rung: Rung
    from_samples: int


@dataclass(frozen=True, slots=True, eq=False)
class Refine:
    """Hear a stretch of the audio once more, as a whole; answered by Refined with the same number."""

    number: int
    stretch: Stretch


@dataclass(frozen=True, slots=True)
class SnapshotStream:
    """Give the stream's state, answered by Parked; the slot is free then."""


@dataclass(frozen=True, slots=True)
class CloseStream:
    """The session is over and wants nothing more; the slot is free once the engine has seen this."""


Command = (
    OpenStream
    | PushAudio
    | PushTokens
    | PushFeatures
    | FlushStream
    | ConfigureStream
    | SetEffort
    | SnapshotStream
    | Refine
    | CloseStream
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream has its slot, for this part."""

    part: Part = Part.WORDS


@dataclass(frozen=True, slots=True)
class Progress:
    """The stream's events, in order, and how many of its samples the recogniser has looked at.

    Attributes:
        turn_s, sessions: how long the step took that brought them, and how many took part in it.
    """

    events: tuple[Event, ...]
    processed_samples: int
    turn_s: float = field(default=0.0, compare=False)
    sessions: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The stream's next tokens, how many of its samples they and all before took, and flushes answered with them.

    Attributes:
        tokens: in order, joined without a gap; their frames lie on the clock of the session.
        processed_samples: at 16 kHz.
        flushed: tags of the flushes that came behind these tokens.
    """

    tokens: tuple[Tokens, ...]
    processed_samples: int
    flushed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Eased:
    """From a sample on, what is done for the stream is that of this rung."""

    rung: Rung
    from_samples: int


@dataclass(frozen=True, slots=True)
class Refined:
    """The words of a stretch that was heard once more; None where there was no time for it."""

    number: int
    words: tuple[Word, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Parked:
    """The stream has left its slot, with all that was pushed before."""

    state: StreamState


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream is over and its slot is free."""

    code: ErrorCode
    message: str


Report = Opened | Progress | Encoded | Eased | Refined | Parked | Failed
