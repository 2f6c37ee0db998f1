"""A finished transcript: what the subtitle writers take, whether it came from a server or from a local model."""

from collections.abc import Iterable
from dataclasses import dataclass

from voicewire.streaming.messages import (
    Done,
    EndpointMessage,
    RefinedMessage,
    TranscriptMessage,
    WordItem,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech that belongs together: an utterance of a stream, or a segment of Whisper's.

    Attributes:
        speaker: who speaks, where the recording has a channel for each speaker.
    """

    start_s: float
    end_s: float
    words: tuple[WordItem, ...]
    speaker: str | None = None

    @property
    def text(self) -> str:
        return "".join(word.word for word in self.words).strip()


@dataclass(frozen=True, slots=True)
class TimedTranscript:
    """The words of one recording, in order, with their times in seconds.

    Attributes:
        language: that is spoken.
        task: ``transcribe``, or ``translate`` where the words are English whatever is spoken.
    """

    language: str
    duration_s: float
    segments: tuple[Segment, ...]
    task: str = "transcribe"

    @property
    def words(self) -> tuple[WordItem, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments if segment.text)


class TranscriptBuilder:
    """Gathers a stream's events; each utterance becomes a segment.

    What was heard once more takes the place of the words that it stands beside, when all is over.
    """

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._words: list[WordItem] = []
        self._tail: list[WordItem] = []
        self._refined: list[RefinedMessage] = []
        self._audio_s = 0.0

    @property
    def words(self) -> list[WordItem]:
        """The committed words of the utterance that is under way."""
        return self._words

    @property
    def tail(self) -> list[WordItem]:
        """What follows them for now."""
        return self._tail

    @property
    def finished(self) -> list[Segment]:
        """The utterances that are over."""
        return self._segments

    def add(self, event: object) -> None:
        """Takes any event of a stream; those that bear no words change nothing."""
        if isinstance(event, TranscriptMessage):
            self._words.extend(event.words)
            self._tail = list(event.tail)
            self._audio_s = max(self._audio_s, event.audio_received)
        elif isinstance(event, EndpointMessage):
            self.end_utterance()
        elif isinstance(event, RefinedMessage):
            self._refined.append(event)
        elif isinstance(event, Done):
            self._audio_s = event.totals.audio_s

    def end_utterance(self) -> None:
        """Makes a segment of the words since the last one, if there are any."""
        if self._words:
            self._segments.append(segment_of(self._words))
        self._words, self._tail = [], []

    def finish(self, language: str) -> TimedTranscript:
        """Everything so far; words without an endpoint are the last segment."""
        self.end_utterance()
        kept = ([word for word in segment.words if not self._is_refined(word)] for segment in self._segments)
        segments = [segment_of(words) for words in [*kept, *(one.words for one in self._refined)] if words]
        segments.sort(key=lambda segment: segment.start_s)
        return TimedTranscript(language, self._audio_s, tuple(segments))

    def _is_refined(self, word: WordItem) -> bool:
        return any(one.start <= word.start and word.end <= one.end for one in self._refined)


def segment_of(words: Iterable[WordItem]) -> Segment:
    """A segment from its words, of which there is at least one."""
    held = tuple(words)
    return Segment(held[0].start, max(word.end for word in held), held)
