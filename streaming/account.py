"""What a session tells of its audio: words and tokens as they come, and flushes when both are there.

The recogniser and the codec go at their own pace; nothing is said to be done before the slower one has done it.
"""

from collections.abc import Iterable

from voicewire.asr.events import Event, Flushed
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.codecs.record_stream import RecordWriter
from voicewire.codecs.records import Hello
from voicewire.streaming.commands import Eased, Encoded, Part, Progress
from voicewire.streaming.headway import Headway
from voicewire.streaming.ladder import Rung
from voicewire.streaming.messages import ErrorCode, Totals, Warning
from voicewire.streaming.narrator import Narrator
from voicewire.streaming.outbox import Outbox
from voicewire.streaming.saved_session import SavedNarrator, SavedSession
from voicewire.streaming.terms import Terms

# What a client is told of the rung that the server stands on, as far as it concerns its session.
_RUNGS = {
    Rung.FULL: (ErrorCode.LOAD_OVER, "the server does all again that it did before"),
    Rung.FEWER_LOOKS: (
        ErrorCode.INTERIM_RARER,
        "the server has much to do: words that may still change come half as often",
    ),
    Rung.NO_LOOKS: (
        ErrorCode.INTERIM_OFF,
        "the server has too much to do: words that may still change come with committed ones alone",
    ),
    Rung.NO_BEAM: (
        ErrorCode.BEAM_OFF,
        "the server has too much to do: words are committed without a search for better ones",
    ),
}


class Account:
    """Turns one session's reports into messages.

    Args:
        terms: what the session is to get.
        outbox: where the messages go.
    """

    def __init__(self, terms: Terms, outbox: Outbox) -> None:
        self._outbox = outbox
        self._settings = terms.stream
        self._rung = Rung.FULL
        self._headway = Headway(terms.parts)
        self._narrator = Narrator(words=terms.start.words, interim=terms.start.interim)
        self._records = RecordWriter(Hello.of(terms.codec)) if terms.codec else None

    @property
    def processed_s(self) -> float:
        """Seconds of audio that were looked at by all that are to."""
        return self._headway.processed_samples / SAMPLE_RATE

    @property
    def words(self) -> int:
        """Words told so far."""
        return self._narrator.words

    @property
    def rung(self) -> Rung:
        """What was told of the server's load."""
        return self._rung

    @property
    def pending_flushes(self) -> int:
        """Flushes asked for and not answered."""
        return self._narrator.pending_flushes

    def opened(self, part: Part) -> bool:
        """Notes that a part has its slot; whether all have now."""
        return self._headway.opened(part)

    def begin(self) -> None:
        """Puts what is told first before all that waits: what the tokens will be."""
        if self._records is not None:
            self._outbox.put_first(self._records.begin())

    def expect_flush(self, tag: str, client_id: str | int | None) -> None:
        """A flush is on its way: its answer carries the client's own id."""
        self._narrator.expect_flush(tag, client_id)

    def tell(self, report: Progress | Encoded | Eased, received_s: float) -> list[str | None]:
        """Tells what a report says, `received_s` of audio having come; gives the flushes that it answers."""
        if isinstance(report, Eased):
            self._tell_rung(report.rung.telling(self._settings))
            return []
        if isinstance(report, Progress):
            return self._tell_words(report, received_s)
        return self._tell_tokens(report, received_s)

    def finish(self) -> None:
        """Nothing more is told of the audio."""
        if self._records is not None:
            self._outbox.put(self._records.end())

    def totals(self, received_s: float) -> Totals:
        return self._narrator.totals(received_s)

    def save(self) -> SavedNarrator:
        """What was told so far, of words alone."""
        return self._narrator.save()

    def restore(self, saved: SavedSession) -> None:
        """Goes on from what was saved; what the other server had too much to do for, this one has not."""
        self._headway.reached(Part.WORDS, saved.processed_samples)
        self._narrator.restore(saved.narrator)
        self._rung = Rung(saved.rung)
        self._tell_rung(Rung.FULL)

    def _tell_rung(self, rung: Rung) -> None:
        if rung is not self._rung:
            code, message = _RUNGS[rung]
            self._outbox.put(Warning(code=code, message=message))
            self._rung = rung

    def _tell_words(self, report: Progress, received_s: float) -> list[str | None]:
        self._headway.reached(Part.WORDS, report.processed_samples)
        answered = self._tell(report.events, received_s)
        if not answered:
            for message in self._narrator.progress(received_s, report.processed_samples / SAMPLE_RATE):
                self._outbox.put(message)
        return answered

    def _tell_tokens(self, report: Encoded, received_s: float) -> list[str | None]:
        assert self._records is not None
        self._headway.reached(Part.TOKENS, report.processed_samples)
        for tokens in report.tokens:
            for record in self._records.write(tokens):
                self._outbox.put(record)
        time_s = report.processed_samples / SAMPLE_RATE
        return self._tell([Flushed(tag, time_s) for tag in report.flushed], received_s)

    def _tell(self, events: Iterable[Event], received_s: float) -> list[str | None]:
        answered: list[str | None] = []
        for event in events:
            if isinstance(event, Flushed):
                if not self._headway.answered(event.tag):
                    continue
                answered.append(event.tag)
            for message in self._narrator.tell(event, received_s):
                self._outbox.put(message)
        return answered
