"""A session's stages as OpenTelemetry spans, for operators who want them; off by default, never with its text.

A span `session` lasts from the seat to its end. Below it lie `handshake`, until the recogniser has opened its
stream; a `turn` for each step of the recogniser that the session took part in; and `flush` and `close`, from the
question to the last word.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from voicewire.asr.events import Flushed, Transcript
from voicewire.streaming.commands import Command, FlushStream, Opened, Progress, Report
from voicewire.streaming.errors import StreamingError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanProcessor
    from opentelemetry.trace import Span, Tracer

_NS = 1_000_000_000
_CLOSING = "close"


class Traces:
    """A server's traces.

    Args:
        endpoint: of a collector, OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`; empty traces nothing.
        processor: takes the spans instead of a collector.

    Raises StreamingError where the packages for it are missing.
    """

    def __init__(self, endpoint: str, processor: "SpanProcessor | None" = None) -> None:
        self._tracer: Tracer | None = None
        self._provider: Any = None
        if not endpoint and processor is None:
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise StreamingError(f"traces need {error.name}: pip install 'voicewire[traces]'") from error
        self._provider = TracerProvider(resource=Resource.create({"service.name": "voicewire"}))
        # Exports in a thread of its own, and throws spans away rather than have anybody wait.
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self._tracer = self._provider.get_tracer("voicewire")

    def session(self, session_id: str) -> "SessionTrace":
        """The trace of one session, from now on."""
        return SessionTrace(self._tracer, session_id)

    def shut(self) -> None:
        """Exports what is left."""
        if self._provider is not None:
            self._provider.shutdown()


class SessionTrace:
    """One session's spans; without a tracer, none."""

    def __init__(self, tracer: "Tracer | None", session_id: str) -> None:
        self._tracer = tracer
        self._session: Span | None = None
        self._waiting: dict[str, Span] = {}
        if tracer is not None:
            self._session = tracer.start_span("session", attributes={"voicewire.session": session_id})
            self._begin("handshake", "handshake")

    def asked(self, commands: Iterable[Command]) -> None:
        """The session sends commands."""
        if self._session is None:
            return
        for command in commands:
            if isinstance(command, FlushStream):
                self._begin(_CLOSING if command.ends else "flush", command.tag)

    def told(self, report: Report) -> None:
        """The session hears a report."""
        if self._session is None:
            return
        if isinstance(report, Opened):
            self._end("handshake")
        elif isinstance(report, Progress):
            self._turn(report)
            for event in report.events:
                if isinstance(event, Flushed):
                    self._end(str(event.tag))

    def ended(self, how: str, audio_s: float, words: int) -> None:
        """The session is over."""
        if self._session is None:
            return
        for name in list(self._waiting):
            self._end(name)
        self._session.set_attributes(
            {"voicewire.code": how, "voicewire.audio_s": round(audio_s, 3), "voicewire.words": words}
        )
        self._session.end()
        self._session = None

    def _turn(self, report: Progress) -> None:
        """A step of the recogniser that has just been reported."""
        now = time.time_ns()
        words = sum(len(event.words) for event in report.events if isinstance(event, Transcript))
        span = self._span("turn", now - round(report.turn_s * _NS))
        span.set_attributes({"voicewire.sessions": report.sessions, "voicewire.words": words})
        span.end(now)

    def _begin(self, name: str, tag: str) -> None:
        self._waiting[tag] = self._span(name)

    def _end(self, tag: str) -> None:
        span = self._waiting.pop(tag, None)
        if span is not None:
            span.end()

    def _span(self, name: str, began_ns: int | None = None) -> "Span":
        from opentelemetry.trace import set_span_in_context

        assert self._tracer is not None
        assert self._session is not None
        return self._tracer.start_span(name, set_span_in_context(self._session), start_time=began_ns)
