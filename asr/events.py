"""What the recogniser says: one small frozen dataclass per event.

Every time is in seconds on the session's clock, which counts samples at 16 kHz from the session's start.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word.

    Attributes:
        text: as it is to be appended to the text before it, so with its leading space where it has one
            (Whisper's own convention): ``"".join(word.text for word in words)`` is the text. Punctuation that
            arrives after its word was committed is an item of its own, without a space.
        start_s, end_s: where the word lies in the audio.
        probability: geometric mean of its tokens' probabilities, 0 to 1.
        emitted_s: how much audio the recogniser had taken in when it said the word.
    """

    text: str
    start_s: float
    end_s: float
    probability: float
    emitted_s: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """News of the text.

    Attributes:
        words: words committed by this event. Each word comes once and never changes.
        tail: what follows the committed words for now; the next Transcript replaces it.
        utterance: number of the utterance, from 0; an Endpoint ends it.
        processed_s: audio up to here has been looked at.
    """

    words: tuple[Word, ...]
    tail: tuple[Word, ...]
    utterance: int
    processed_s: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at `time_s`, after silence or at the start of the stream."""

    time_s: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An utterance is over: a pause of `endpoint_ms` followed its last word. All its words have been
    committed.
    """

    utterance: int
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Flushed:
    """Every word of the audio before the flush called `tag` has been committed."""

    tag: str | None
    time_s: float


@dataclass(frozen=True, slots=True)
class DecoderReset:
    """The decoder had lost its way and started afresh.

    Attributes:
        reason: `repetition`: it was caught in a loop, and repeated words were dropped; `silence`: it said nothing
            while somebody spoke.
        time_s: when.
    """

    reason: str
    time_s: float


Event = Transcript | SpeechStarted | Endpoint | Flushed | DecoderReset
