"""What Prometheus reads of a server: counters that the service adds to as it goes, gauges that are set when asked.

Labels are codes, stages and parts, of which there are few. No client's text, key or address is among them.
"""

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

from voicewire.streaming.commands import Part
from voicewire.streaming.messages import WARNINGS, ErrorCode

Instrument = TypeVar("Instrument", Counter, Histogram)

STAGES = ("gate", "mel", "encoder", "decoder", "words")

# How a session ends that no error ends.
DONE, CLIENT_LEFT, HANDED_OVER = "done", "client_left", "handed_over"

# At the handshake; whatever else is wrong comes later, when there is a session.
_REFUSALS = (
    ErrorCode.CAPACITY,
    ErrorCode.SHUTTING_DOWN,
    ErrorCode.UNAUTHORIZED,
    ErrorCode.ORIGIN_REFUSED,
    ErrorCode.KEY_LIMIT,
    ErrorCode.INTERNAL,
)

_WORK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_WAITING_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_LASTING_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands at one moment.

    Attributes:
        model: its name; empty before it is loaded.
        ready: whether sessions can be had.
        capacity, seats_in_use: sessions.
        turn_s: how long the engine has been at its present turn; 0 where it has nothing to do.
        state_bytes: memory taken for the streams' caches, used or not.
        backlogs_s: of every session, the seconds of audio received and not yet looked at.
        rung: of the ladder that an overloaded server climbs; 0 where it does everything.
    """

    model: str
    ready: bool
    capacity: int
    seats_in_use: int
    turn_s: float
    state_bytes: int
    backlogs_s: Iterable[float]
    rung: int = 0


class Metrics:
    """The instruments of one engine and of the sessions that it serves. Safe to use from any thread.

    docs/operations.md says what each one measures.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._info = Info("voicewire", "What runs here.", registry=registry)
        self._gauges = _Gauges(registry)
        self._sessions(registry)
        self._audio(registry)
        self._engine(registry)

    def page(self, standing: Standing, accept: str = "") -> tuple[bytes, str]:
        """All of it in the format that an Accept header asks for, and that format's content type."""
        self._info.info({"version": importlib.metadata.version("voicewire"), "model": standing.model})
        self._gauges.set(standing)
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _sessions(self, registry: CollectorRegistry) -> None:
        self.sessions = Counter("voicewire_sessions", "Sessions that got a seat.", registry=registry)
        self.returned = Counter(
            "voicewire_sessions_returned", "Sessions that another process left behind.", registry=registry
        )
        self.refused = Counter(
            "voicewire_sessions_refused", "Sessions refused at the handshake.", ["code"], registry=registry
        )
        self.ended = Counter(
            "voicewire_sessions_ended", "Sessions that ended, by how.", ["code"], registry=registry
        )
        self.lasted = Histogram(
            "voicewire_session_seconds",
            "How long sessions lasted.",
            buckets=_LASTING_S,
            registry=registry,
        )
        # From the start, so that a rate is right about the first one too.
        for code in _REFUSALS:
            self.refused.labels(code.value)
        errors = (code.value for code in ErrorCode if code not in WARNINGS)
        for name in (DONE, CLIENT_LEFT, HANDED_OVER, *errors):
            self.ended.labels(name)

    def _audio(self, registry: CollectorRegistry) -> None:
        self.received = Counter("voicewire_audio_received_seconds", "Audio that came in.", registry=registry)
        processed = Counter(
            "voicewire_audio_processed_seconds",
            "Audio that was looked at, for words and for tokens.",
            ["part"],
            registry=registry,
        )
        self.processed: Mapping[Part, Counter] = _by_part(processed)
        self.words = Counter("voicewire_words", "Words committed.", registry=registry)
        self.tokens = Counter("voicewire_tokens", "Codec tokens made.", registry=registry)
        self.decoder_resets = Counter(
            "voicewire_decoder_resets", "Loops that the decoder was taken out of.", registry=registry
        )
        self.word_delay = Histogram(
            "voicewire_word_delay_seconds",
            "Audio received when a word was committed, less the word's end.",
            buckets=_WAITING_S,
            registry=registry,
        )
        flush = Histogram(
            "voicewire_flush_seconds",
            "From a flush (or the end of the audio) to its answer.",
            ["part"],
            buckets=_WAITING_S,
            registry=registry,
        )
        self.flush: Mapping[Part, Histogram] = _by_part(flush)

    def _engine(self, registry: CollectorRegistry) -> None:
        self.queue = Histogram(
            "voicewire_queue_seconds",
            "How long the oldest command of a turn had waited for it.",
            buckets=_WORK_S,
            registry=registry,
        )
        self.turn = Histogram(
            "voicewire_turn_seconds",
            "How long a turn of the recogniser took.",
            buckets=_WORK_S,
            registry=registry,
        )
        self.batch = Histogram(
            "voicewire_batch_sessions", "Sessions in a turn.", buckets=_BATCHES, registry=registry
        )
        stage = Histogram(
            "voicewire_stage_seconds",
            "Time of one stage in one turn.",
            ["stage"],
            buckets=_WORK_S,
            registry=registry,
        )
        self.stages = {name: stage.labels(name) for name in STAGES}
        self.codec = Histogram(
            "voicewire_codec_seconds",
            "How long a batch of a codec took.",
            buckets=_WORK_S,
            registry=registry,
        )
        self.faults = Counter(
            "voicewire_engine_faults", "Steps of the recogniser that failed.", registry=registry
        )


class _Gauges:
    """What is looked up when somebody asks, and not before."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(f"voicewire_{name}", help_text, registry=registry)

        self._ready = gauge("ready", "1 where sessions can be had, full or not.")
        self._seats = gauge("seats", "Sessions that can be had at one time.")
        self._seats_in_use = gauge("seats_in_use", "Seats taken.")
        self._active = gauge("sessions_active", "Sessions being served.")
        self._backlog = gauge("backlog_seconds", "Audio received and not yet looked at, of all sessions.")
        self._largest = gauge("backlog_largest_seconds", "The same of the session that has most.")
        self._turn = gauge("engine_turn_age_seconds", "Age of the turn that is being taken; 0 at rest.")
        self._rung = gauge("overload_rung", "0 where everything is done, 4 where sessions are let go.")
        self._state = gauge("state_bytes", "Memory taken for the caches of all seats.")

    def set(self, standing: Standing) -> None:
        backlogs_s = list(standing.backlogs_s)
        self._ready.set(standing.ready)
        self._seats.set(standing.capacity)
        self._seats_in_use.set(standing.seats_in_use)
        self._active.set(len(backlogs_s))
        self._backlog.set(sum(backlogs_s))
        self._largest.set(max(backlogs_s, default=0.0))
        self._turn.set(standing.turn_s)
        self._state.set(standing.state_bytes)
        self._rung.set(standing.rung)


def _by_part(instrument: Instrument) -> dict[Part, Instrument]:
    return {part: instrument.labels(part.name.lower()) for part in Part}
