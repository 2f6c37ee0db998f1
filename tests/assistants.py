"""Runs the speech services of pipecat and LiveKit as an assistant would, and gathers what they hear."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from voicewire.streaming.server import RunningServer

RATE = 16_000
# Twice as fast as speech.
_PIECE_S, _PAUSE_S = 0.05, 0.025


@dataclass
class Heard:
    """What an assistant was told.

    Attributes:
        final, interim: texts, in order.
        kinds: the events' names, in order.
        events: the framework's own, in order.
        errors: what went wrong.
    """

    final: list[str] = field(default_factory=list)
    interim: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(self.final)


async def from_pipecat(service: Any, audio: bytes, *behind: Any, waits_s: float = 2.0) -> Heard:
    """Speech through a pipeline of pipecat's: a user speaks and stops, as its voice activity detector says.

    What is `behind` are frames that follow at once; then the pipeline waits for answers, and ends.
    """
    from pipecat.frames import frames
    from pipecat.pipeline.worker import PipelineParams
    from pipecat.tests.utils import SleepFrame, run_test

    send: list[Any] = [frames.VADUserStartedSpeakingFrame(), frames.UserStartedSpeakingFrame()]
    step = round(_PIECE_S * RATE) * 2
    for start in range(0, len(audio), step):
        send.append(frames.InputAudioRawFrame(audio[start : start + step], RATE, 1))
        send.append(SleepFrame(_PAUSE_S))
    send += [frames.VADUserStoppedSpeakingFrame(stop_secs=0.2), *behind, SleepFrame(waits_s)]
    down, up = await run_test(
        service,
        frames_to_send=send,
        pipeline_params=PipelineParams(
            audio_in_sample_rate=RATE, enable_metrics=True, enable_usage_metrics=True
        ),
        start_timeout=10.0,
    )
    heard = Heard(events=[*down, *up])
    for frame in heard.events:
        heard.kinds.append(type(frame).__name__)
        if isinstance(frame, frames.TranscriptionFrame):
            heard.final.append(frame.text)
        elif isinstance(frame, frames.InterimTranscriptionFrame):
            heard.interim.append(frame.text)
        elif isinstance(frame, frames.ErrorFrame):
            heard.errors.append(frame.error)
    return heard


class LiveKit:
    """A program that uses LiveKit's plugins, and its HTTP session."""

    def __init__(self, session: Any) -> None:
        self.session = session

    @staticmethod
    def frame(audio: bytes, rate: int = RATE) -> Any:
        from livekit import rtc

        return rtc.AudioFrame(audio, rate, 1, len(audio) // 2)

    async def hear(self, stt: Any, audio: bytes, rate: int = RATE) -> Heard:
        """A stream of speech, two seconds of silence, and the end."""
        stream = stt.stream()
        heard = Heard()
        reader = asyncio.create_task(self._read(stream, heard))
        step = round(_PIECE_S * rate) * 2
        whole = audio + bytes(4 * rate)
        for start in range(0, len(whole), step):
            stream.push_frame(self.frame(whole[start : start + step], rate))
            await asyncio.sleep(_PAUSE_S)
        stream.flush()
        stream.end_input()
        await asyncio.wait([reader], timeout=3)
        await stream.aclose()
        await asyncio.gather(reader, return_exceptions=True)
        return heard

    @staticmethod
    async def _read(stream: Any, heard: Heard) -> None:
        async for event in stream:
            heard.kinds.append(event.type.value)
            heard.events.append(event)
            if event.type.value == "final_transcript":
                heard.final.append(event.alternatives[0].text)
            elif event.type.value == "interim_transcript":
                heard.interim.append(event.alternatives[0].text)


class Relay:
    """A road to a server that can be cut.

    Attributes:
        url: where it begins.
        connections: how many have come along it.
    """

    def __init__(self, server: RunningServer) -> None:
        self.url = ""
        self.connections = 0
        self._server = server
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Whoever is on the way is lost, without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Relay"]:
        listener = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        async with listener:
            self.url = f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
            yield self
            self.cut()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(self._server.host, self._server.port)
        self._writers += [writer, back]
        await asyncio.gather(self._pour(reader, back), self._pour(there, writer))

    @staticmethod
    async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def from_livekit() -> AsyncIterator[LiveKit]:
    from livekit.agents.utils import http_context

    async with http_context.open() as session:
        yield LiveKit(session)
