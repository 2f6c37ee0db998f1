"""Wyoming: frames and the facade alone, and the package `wyoming` as a client of the real server."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.saying import SessionSays, audio_of, native
from tests.serving import bystander, pieces, real_engine, speech
from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import Close, ErrorCode, Start
from voicewire.streaming.protocols.facade import Reply, Step
from voicewire.streaming.protocols.wyoming import Wyoming
from voicewire.streaming.protocols.wyoming_frames import Event, FrameReader
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]
pytest.importorskip("wyoming", reason="wyoming is not installed: pip install 'voicewire[clients]'")
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop  # noqa: E402
from wyoming.audio import AudioChunk, AudioStart, AudioStop  # noqa: E402
from wyoming.client import AsyncTcpClient  # noqa: E402
from wyoming.error import Error  # noqa: E402
from wyoming.info import Describe, Info  # noqa: E402
from wyoming.ping import Ping, Pong  # noqa: E402

PAGE = Path(__file__).resolve().parent.parent / "docs" / "protocols.md"
FORMAT = {"rate": 16_000, "width": 2, "channels": 1}


def facade() -> Wyoming:
    return Wyoming("base", ("en", "de"), 100_000)


def told(steps: list[Step]) -> list[Event]:
    reader = FrameReader(1_000_000)
    return [event for step in steps if isinstance(step, Reply) for event in reader.push(step.data)]  # type: ignore[arg-type]


# ---- frames


JSON = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


@given(
    st.lists(st.builds(Event, st.text(max_size=20), JSON, st.binary(max_size=60)), max_size=5),
    st.integers(1, 50),
)
def test_events_come_whole_however_they_are_cut(events: list[Event], size: int) -> None:
    data = b"".join(event.to_bytes() for event in events)
    reader = FrameReader(1000)
    assert [event for piece in pieces(data, size) for event in reader.push(piece)] == events


def test_data_in_the_header_and_behind_it_are_one() -> None:
    line = b'{"type": "a", "data": {"x": 1, "y": 1}, "data_length": 8}\n{"x": 2}'
    assert list(FrameReader(10).push(line)) == [Event("a", {"x": 2, "y": 1})]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{\n", ErrorCode.BAD_JSON),
        (b"[]\n", ErrorCode.BAD_MESSAGE),
        (b'{"type": 1}\n', ErrorCode.BAD_MESSAGE),
        (b'{"type": "a", "payload_length": -1}\n', ErrorCode.BAD_MESSAGE),
        (b'{"type": "a", "payload_length": 11}\n', ErrorCode.MESSAGE_TOO_BIG),
        (b'{"type": "a", "data_length": 1000000000}\n', ErrorCode.MESSAGE_TOO_BIG),
        (b'{"type": "a", "data_length": 2}\n[]', ErrorCode.BAD_MESSAGE),
        (b'{"type": "a", "data_length": 2}\n\xff\xff', ErrorCode.BAD_JSON),
        (b"x" * 100_000, ErrorCode.MESSAGE_TOO_BIG),
    ],
)
def test_what_is_no_frame_is_refused_before_it_is_in_memory(data: bytes, code: ErrorCode) -> None:
    with pytest.raises(SessionError) as caught:
        list(FrameReader(10).push(data))
    assert caught.value.code is code


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_refused(data: bytes) -> None:
    try:
        steps = list(facade().receive_bytes(data + b"\n"))
    except SessionError:
        return
    assert not native(steps)


# ---- the facade


def sent(wyoming: Wyoming, *events: Event) -> list[Step]:
    return [step for event in events for step in wyoming.receive_bytes(event.to_bytes())]


def test_utterances_follow_each_other_on_one_connection() -> None:
    wyoming, says = facade(), SessionSays()
    for language in ("en", "de"):
        steps = sent(
            wyoming,
            Event("transcribe", {"language": f"{language}-XX"}),
            Event("audio-start", FORMAT),
            Event("audio-chunk", FORMAT, b"\1\2\3"),
            Event("audio-chunk", FORMAT, b"\4"),
            Event("audio-stop"),
        )
        start, close = native(steps)
        assert isinstance(start, Start)
        assert isinstance(close, Close)
        assert start.language == language
        assert audio_of(steps) == b"\1\2\3\4"
        answers = []
        for message in (says.ready(), says.words(" Hello", tail=" you"), says.words(" there"), says.done()):
            answers += told(list(wyoming.tell(message)))
        assert [event.type for event in answers] == [
            *("transcript-start", "transcript-chunk", "transcript-chunk", "transcript", "transcript-stop")
        ]
        assert answers[3].data == {"text": "Hello there", "language": language}
        assert "".join(event.data["text"] for event in answers[1:3]) == "Hello there"


def test_chunks_alone_begin_an_utterance_and_the_rest_of_a_failed_one_is_dropped() -> None:
    wyoming = facade()
    chunk = Event("audio-chunk", FORMAT | {"rate": 8000}, b"\1\2")
    assert len(native(sent(wyoming, chunk))) == 1
    [error] = told(list(wyoming.tell(SessionSays().error(ErrorCode.OVERLOADED))))
    assert error.type == "error"
    assert not sent(wyoming, chunk, Event("audio-stop"))
    assert native(sent(wyoming, Event("audio-start", FORMAT), chunk))


@pytest.mark.parametrize("wrong", [{"width": 4}, {"rate": 1}, {"channels": 9}, {"rate": "x"}])
def test_a_format_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SessionError) as caught:
        sent(facade(), Event("audio-start", FORMAT | wrong))
    assert caught.value.code is ErrorCode.UNSUPPORTED_SETTING


# ---- over sockets


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(wyoming="127.0.0.1:0"), engine=real_engine()) as server:
        yield server


def client(server: RunningServer) -> AsyncTcpClient:
    assert server.wyoming_port is not None
    return AsyncTcpClient("127.0.0.1", server.wyoming_port)


async def say(one: AsyncTcpClient, audio: bytes) -> list[Any]:
    """As Home Assistant does; the events up to the transcript's end."""
    await one.write_event(Transcribe(language="en").event())
    await one.write_event(AudioStart(**FORMAT).event())
    for piece in pieces(audio, 2048):
        await one.write_event(AudioChunk(**FORMAT, audio=piece).event())
    await one.write_event(AudioStop().event())
    events = []
    while not events or not TranscriptStop.is_type(events[-1].type):
        event = await asyncio.wait_for(one.read_event(), 30)
        assert event is not None
        events.append(event)
    return events


async def test_home_assistant_s_client_asks_and_hears(server: RunningServer) -> None:
    async with client(server) as one:
        await one.write_event(Describe().event())
        event = await one.read_event()
        assert event is not None
        [program] = Info.from_event(event).asr
        assert program.supports_transcript_streaming
        assert program.models[0].languages == ["en"]
        await one.write_event(Ping(text="x").event())
        event = await one.read_event()
        assert event is not None
        assert Pong.from_event(event).text == "x"
        for _ in range(2):
            events = await say(one, speech(3.0).tobytes())
            assert TranscriptStart.is_type(events[0].type)
            text = Transcript.from_event(events[-2]).text
            assert "printing" in text.lower()
            chunks = [TranscriptChunk.from_event(event).text for event in events[1:-2]]
            assert "".join(chunks) == text


async def test_the_document_s_example_does_what_it_says(server: RunningServer, tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n([^`]*AsyncTcpClient[^`]*)```", PAGE.read_text())
    soundfile.write(tmp_path / "talk.wav", speech(3.0), 16_000)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code.replace("10300", str(server.wyoming_port))),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert "printing" in output.decode().lower()


async def test_strangers_get_an_error_and_disturb_nobody(server: RunningServer) -> None:
    with bystander(server):
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b'{"type": "a", "payload_length": 99999999}\n',
            b"\0" * 70_000,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.wyoming_port)
            writer.write(data)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            assert json.loads(answer.split(b"\n")[0])["type"] == "error"


async def test_a_client_that_vanishes_gives_its_slot_back(server: RunningServer) -> None:
    async with client(server) as one:
        await one.write_event(AudioStart(**FORMAT).event())
        await one.write_event(AudioChunk(**FORMAT, audio=bytes(3200)).event())
        event = await one.read_event()
        assert event is not None
        assert TranscriptStart.is_type(event.type)


async def test_a_language_that_nobody_knows_is_told(server: RunningServer) -> None:
    async with client(server) as one:
        await one.write_event(Transcribe(language="xx").event())
        await one.write_event(AudioStart(**FORMAT).event())
        event = await one.read_event()
        assert event is not None
        assert Error.from_event(event).code == "unsupported_setting"
        events = await say(one, speech(1.0).tobytes())
        assert Transcript.is_type(events[-2].type)
