"""The recogniser's events told in the protocol's words, with the session's watermarks and totals."""

from collections.abc import Iterator

from voicewire.asr.events import DecoderReset, Endpoint, Event, Flushed, SpeechStarted, Transcript, Word
from voicewire.streaming.messages import (
    EndpointMessage,
    ErrorCode,
    FlushedMessage,
    ServerMessage,
    SpeechStartedMessage,
    Totals,
    TranscriptMessage,
    Warning,
    WordItem,
)
from voicewire.streaming.saved_session import SavedNarrator

# In silence there is no news of the text; a client still hears how far the server is, once in so many seconds.
_PROGRESS_S = 1.0

# The outbox numbers messages when they leave.
_UNNUMBERED = 0


class Narrator:
    """Tells one session's events.

    Args:
        words: whether to give word items, or text alone.
        interim: whether to give tails; the recogniser may have some even where it looks only at commits.

    Attributes:
        words: committed words told so far.
    """

    def __init__(self, *, words: bool, interim: bool) -> None:
        self.words = 0
        self._interim = interim
        self._items = words
        self._utterances = 0
        self._in_utterance = False
        self._tail: tuple[Word, ...] = ()
        self._utterance = 0
        self._told_s = 0.0
        self._flushes: dict[str | None, str | int | None] = {}

    @property
    def pending_flushes(self) -> int:
        """Flushes asked for and not answered."""
        return len(self._flushes)

    def expect_flush(self, tag: str, client_id: str | int | None) -> None:
        """A flush is on its way: its answer carries the client's own id."""
        self._flushes[tag] = client_id

    def tell(self, event: Event, received_s: float) -> Iterator[ServerMessage]:
        """The messages that an event makes; none for a flush that nobody asked for."""
        match event:
            case Transcript() if self._interim or event.words:
                yield self._transcript(event, received_s)
            case SpeechStarted():
                yield SpeechStartedMessage(seq=_UNNUMBERED, time=rounded(event.time_s))
            case Endpoint():
                self._utterances += 1
                self._in_utterance = False
                self._utterance = event.utterance + 1
                self._tail = ()
                yield EndpointMessage(
                    seq=_UNNUMBERED,
                    utterance=event.utterance,
                    start=rounded(event.start_s),
                    end=rounded(event.end_s),
                    text=event.text,
                )
            case Flushed() if event.tag in self._flushes:
                self._told_s = event.time_s
                yield FlushedMessage(
                    seq=_UNNUMBERED, id=self._flushes.pop(event.tag), audio_processed=rounded(event.time_s)
                )
            case DecoderReset():
                yield Warning(
                    code=ErrorCode.DECODER_RESET,
                    message=f"the decoder was reset at {event.time_s:.1f} s ({event.reason}): "
                    "words near it may be missing",
                )

    def progress(self, received_s: float, processed_s: float) -> Iterator[ServerMessage]:
        """A transcript without news, where the last one is long ago."""
        if processed_s - self._told_s >= _PROGRESS_S:
            yield self._transcript(Transcript((), self._tail, self._utterance, processed_s), received_s)

    def totals(self, received_s: float) -> Totals:
        return Totals(
            audio_s=rounded(received_s), words=self.words, utterances=self._utterances + self._in_utterance
        )

    def save(self) -> SavedNarrator:
        """What was told so far; the tail is told anew."""
        return SavedNarrator(
            words=self.words,
            utterances=self._utterances,
            in_utterance=self._in_utterance,
            utterance=self._utterance,
            told_s=self._told_s,
            flushes=[(str(tag), client_id) for tag, client_id in self._flushes.items()],
        )

    def restore(self, saved: SavedNarrator) -> None:
        """Becomes what was saved."""
        self.words = saved.words
        self._utterances = saved.utterances
        self._in_utterance = saved.in_utterance
        self._utterance = saved.utterance
        self._told_s = saved.told_s
        self._flushes.update(saved.flushes)

    def _transcript(self, event: Transcript, received_s: float) -> TranscriptMessage:
        self._told_s = event.processed_s
        self._tail = event.tail if self._interim else ()
        self._utterance = event.utterance
        self._in_utterance = self._in_utterance or bool(event.words)
        self.words += len(event.words)
        return TranscriptMessage(
            seq=_UNNUMBERED,
            words=[word_item(word) for word in event.words] if self._items else [],
            tail=[word_item(word) for word in self._tail] if self._items else [],
            text="".join(word.text for word in event.words),
            tail_text="".join(word.text for word in self._tail),
            utterance=event.utterance,
            audio_received=rounded(received_s),
            audio_processed=rounded(event.processed_s),
            buffered_ms=round(1000 * max(0.0, received_s - event.processed_s)),
        )


def word_item(word: Word) -> WordItem:
    """A word as the protocol has it."""
    return WordItem(
        word=word.text,
        start=rounded(word.start_s),
        end=rounded(word.end_s),
        probability=round(word.probability, 4),
        emitted=rounded(word.emitted_s),
    )


def rounded(seconds: float) -> float:
    """To milliseconds, as all times on the wire."""
    return round(seconds, 3)
