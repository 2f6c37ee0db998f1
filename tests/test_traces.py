"""Spans of a session's stages: what they are, how they lie in each other, and that none has its text."""

import asyncio

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.serving import real_engine, speech
from voicewire.client import connect
from voicewire.streaming import lobby
from voicewire.streaming.server import running_server
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.traces import SessionTrace, Traces


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Where a server's spans go that is started from here on."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(lobby, "Traces", lambda endpoint: Traces(endpoint, SimpleSpanProcessor(exporter)))
    return exporter


async def speak(url: str) -> str:
    async with connect(url) as stream:
        await stream.send(speech(2.0).tobytes())
        await stream.flush()
        await stream.close()
        return "".join([event.text async for event in stream if event.type == "transcript"])


def test_a_session_is_a_trace(spans: InMemorySpanExporter) -> None:
    with running_server(ServerSettings(), engine=real_engine()) as server:
        text = asyncio.run(speak(server.url))
    made = {}
    for span in spans.get_finished_spans():
        made.setdefault(span.name, []).append(span)
    assert {name: len(found) for name, found in made.items() if name != "turn"} == dict.fromkeys(
        ("session", "handshake", "flush", "close"), 1
    )
    [session] = made["session"]
    assert session.attributes is not None
    assert session.attributes["voicewire.code"] == "done"
    assert session.attributes["voicewire.audio_s"] == 2.0
    words = sum(span.attributes["voicewire.words"] for span in made["turn"])
    assert words == session.attributes["voicewire.words"] > 2
    assert any(span.end_time - span.start_time > 1_000_000 for span in made["turn"])
    for name, found in made.items():
        for span in found:
            assert span.end_time >= span.start_time
            assert (span.parent is None) == (name == "session")
            assert span.context.trace_id == session.context.trace_id
            assert not any(word in span.to_json() for word in text.split() if len(word) > 3)


def test_a_session_that_is_cut_off_leaves_no_span_open(spans: InMemorySpanExporter) -> None:
    with running_server(ServerSettings(), engine=real_engine()) as server:

        async def cut() -> None:
            async with connect(server.url, resume=False) as stream:
                await stream.send(speech(1.0).tobytes())
                await stream.abort()

        asyncio.run(cut())
    by_name: dict[str, ReadableSpan] = {span.name: span for span in spans.get_finished_spans()}
    attributes = by_name["session"].attributes
    assert attributes is not None
    assert attributes["voicewire.code"] == "client_left"


def test_nothing_is_made_unless_asked_for() -> None:
    trace = Traces("").session("a1")
    assert isinstance(trace, SessionTrace)
    trace.ended("done", 1.0, 1)
    Traces("").shut()
