"""Clients of OpenAI's, unmodified, against the real server: realtime, recordings, refusals, assistants."""

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.assistants import from_livekit, from_pipecat
from tests.serving import CLIP, bystander, pieces, real_engine, speech
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]
pytest.importorskip("openai", reason="openai is not installed: pip install 'voicewire[clients]'")
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI  # noqa: E402

RATE = 24_000


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(upload_bytes=200_000), engine=real_engine()) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> OpenAI:
    return OpenAI(api_key="any", base_url=f"{server.http_url}/v1", max_retries=0)


def encoded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


# ---- realtime


async def heard(connection: Any, until: str, within_s: float = 30.0) -> list[Any]:
    """Events up to one whose type ends so."""
    events = []
    async with asyncio.timeout(within_s):
        async for event in connection:
            events.append(event)
            if event.type.endswith(until):
                return events
    raise AssertionError(f"no {until}: {[event.type for event in events]}")


async def until_closed(websocket: Any) -> list[dict[str, Any]]:
    told = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            told.append(json.loads(await websocket.recv()))
    return told


def realtime(server: RunningServer) -> Any:
    client = AsyncOpenAI(api_key="any", base_url=f"{server.http_url}/v1")
    return client.realtime.connect(extra_query={"intent": "transcription"})


def settings(turn_detection: dict[str, Any] | None) -> dict[str, Any]:
    given = {
        "format": {"type": "audio/pcm", "rate": RATE},
        "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
        "turn_detection": turn_detection,
    }
    return {"type": "transcription", "audio": {"input": given}}


async def test_turns_come_as_items_with_deltas_that_are_never_taken_back(server: RunningServer) -> None:
    async with realtime(server) as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session=settings({"type": "server_vad", "silence_duration_ms": 500}))
        assert (await connection.recv()).type == "session.updated"
        for piece in pieces(speech(3.5, RATE).tobytes() + bytes(4 * RATE), RATE // 5):
            await connection.input_audio_buffer.append(audio=encoded(piece))
        events = await heard(connection, "transcription.completed")
    kinds = [event.type for event in events]
    assert kinds[0] == "input_audio_buffer.speech_started"
    assert kinds[-4:] == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.input_audio_transcription.completed",
    ]
    completed = events[-1]
    assert "printing" in completed.transcript.lower()
    deltas = [event.delta for event in events if event.type.endswith("transcription.delta")]
    assert len(deltas) > 1
    assert "".join(deltas) == completed.transcript
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {completed.item_id}
    assert completed.usage.type == "duration"
    assert 0 < completed.usage.seconds < 6


async def test_a_client_that_ends_its_turns_itself_gets_every_word_at_once(server: RunningServer) -> None:
    audio = speech(5.0, RATE).tobytes()
    half = len(audio) // 4 * 2 + 1  # a commit in the middle of a sample
    async with realtime(server) as connection:
        await connection.session.update(session=settings(None))
        await connection.input_audio_buffer.append(audio=encoded(audio[:half]))
        await connection.input_audio_buffer.commit()
        first = (await heard(connection, "transcription.completed"))[-1]
        assert "printing" in first.transcript.lower()
        await connection.input_audio_buffer.append(audio=encoded(audio[half:]))
        await connection.input_audio_buffer.commit()
        second = (await heard(connection, "transcription.completed"))[-1]
        assert "art" in second.transcript.lower()
        assert second.item_id != first.item_id
        await connection.input_audio_buffer.commit()
        error = (await heard(connection, "error"))[-1].error
        assert error.code == "input_audio_buffer_commit_empty"
        await connection.input_audio_buffer.append(audio=encoded(audio[:half]))
        await connection.input_audio_buffer.clear()
        await heard(connection, "input_audio_buffer.cleared")


@pytest.mark.parametrize(("form", "subtype"), [("audio/pcmu", "ULAW"), ("audio/pcma", "ALAW")])
async def test_a_telephone_s_audio_is_understood(server: RunningServer, form: str, subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, speech(3.0, 8000), 8000, subtype, format="RAW")
    async with realtime(server) as connection:
        given = settings(None)
        given["audio"]["input"]["format"] = {"type": form}
        await connection.session.update(session=given)
        await connection.input_audio_buffer.append(audio=encoded(file.getvalue()))
        await connection.input_audio_buffer.commit()
        completed = (await heard(connection, "transcription.completed"))[-1]
    assert "printing" in completed.transcript.lower()


@pytest.mark.parametrize("data", ["{", "[]", '{"type": "response.create"}', b"\0\1"])
async def test_a_wrong_event_is_answered_and_the_session_goes_on(server: RunningServer, data: Any) -> None:
    async with connect(server.http_url.replace("http", "ws") + "/v1/realtime") as websocket:
        assert json.loads(await websocket.recv())["type"] == "session.created"
        await websocket.send(data)
        assert json.loads(await websocket.recv())["error"]["message"]
        await websocket.send(json.dumps({"type": "session.update", "session": settings(None)}))
        assert json.loads(await websocket.recv())["type"] == "session.updated"


async def test_what_ends_the_session_is_told_in_openai_s_shape(server: RunningServer) -> None:
    with bystander(server):
        async with connect(server.http_url.replace("http", "ws") + "/v1/realtime") as websocket:
            await websocket.recv()
            session = settings(None)
            session["audio"]["input"]["transcription"]["language"] = "xx"
            await websocket.send(json.dumps({"type": "session.update", "session": session}))
            told = await until_closed(websocket)
        assert told[-1]["error"]["code"] == "unsupported_setting"
        async with connect(server.http_url.replace("http", "ws") + "/v1/realtime") as websocket:
            await websocket.recv()
            await websocket.send("x" * 2_000_000)
            told = await until_closed(websocket)
            assert websocket.close_code == 1009
        assert told[-1]["error"]["code"] == "message_too_big"


async def test_a_conversation_is_refused_at_the_handshake(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(server.http_url.replace("http", "ws") + "/v1/realtime?intent=conversation")
    assert caught.value.response.status_code == 400
    assert json.loads(caught.value.response.body)["error"]["param"] == "intent"


async def test_pipecat_s_realtime_service_hears_the_turn_it_commits(server: RunningServer) -> None:
    stt = pytest.importorskip("pipecat.services.openai.stt", reason="pipecat-ai is not installed")
    url = server.http_url.replace("http", "ws") + "/v1/realtime"
    service = stt.OpenAIRealtimeSTTService(api_key="any", base_url=url)
    told = await from_pipecat(service, speech(4.0).tobytes())
    assert "printing" in told.text.lower()
    assert told.interim
    assert not told.errors


async def test_livekit_s_openai_plugin_hears_speech_begin_and_end(server: RunningServer) -> None:
    plugin = pytest.importorskip("livekit.plugins.openai", reason="livekit-plugins-openai is not installed")
    async with from_livekit() as http:
        stt = plugin.STT(
            api_key="any", base_url=f"{server.http_url}/v1", model="gpt-4o-transcribe", use_realtime=True
        )
        told = await http.hear(stt, speech(4.0, RATE).tobytes(), RATE)
        assert "printing" in told.text.lower()
        assert told.interim
        assert told.kinds[0] == "start_of_speech"
        assert "end_of_speech" in told.kinds
        await stt.aclose()


# ---- recordings


def test_a_recording_in_every_format(client: OpenAI) -> None:
    clip = io.BytesIO()
    soundfile.write(clip, speech(6.0), 16_000, format="WAV")

    def transcribe(**wanted: Any) -> Any:
        return client.audio.transcriptions.create(
            file=("clip.wav", clip.getvalue()), model="whisper-1", **wanted
        )

    short = transcribe()
    assert short.text.startswith("Printing")
    assert short.usage.seconds == 6
    assert transcribe(response_format="text").strip() == short.text
    subtitles = transcribe(response_format="srt")
    assert subtitles.startswith("1\n00:00:0")
    assert "Printing" in subtitles
    assert transcribe(response_format="vtt").startswith("WEBVTT")
    verbose = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert verbose.duration == pytest.approx(6.0, abs=0.01)
    assert " ".join(word.word for word in verbose.words) == short.text
    assert all(0 <= word.start <= word.end <= 6.0 for word in verbose.words)
    assert " ".join(segment.text for segment in verbose.segments) == short.text
    assert all(segment.avg_logprob < 0 for segment in verbose.segments)


def test_a_recording_s_words_as_they_come(client: OpenAI) -> None:
    events = list(
        client.audio.transcriptions.create(
            file=("clip.opus", CLIP.read_bytes()[:40_000]), model="whisper-1", stream=True
        )
    )
    assert len(events) > 2
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    with pytest.raises(APIError, match="no recording"):
        list(client.audio.transcriptions.create(file=("a.wav", b"nothing"), model="whisper-1", stream=True))


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"file": ("a.wav", b"nothing")}, None),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"language": "xx"}, None),
    ],
)
def test_what_cannot_be_is_refused_in_openai_s_shape(
    client: OpenAI, wanted: dict[str, Any], param: str | None
) -> None:
    request: dict[str, Any] = {"file": ("a.opus", CLIP.read_bytes()[:5000]), "model": "whisper-1"} | wanted
    with pytest.raises(BadRequestError) as caught:
        client.audio.transcriptions.create(**request)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param


def test_a_recording_is_bounded_and_must_be_a_form(client: OpenAI, server: RunningServer) -> None:
    with pytest.raises(APIError) as caught:
        client.audio.transcriptions.create(file=("a.wav", bytes(300_000)), model="whisper-1")
    assert caught.value.code == "message_too_big"
    url = f"{server.http_url}/v1/audio/transcriptions"
    for request in (
        {"json": {"file": "x"}},
        {"data": {"model": "whisper-1"}, "files": {"other": b"x"}},
        {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"--x\r\n\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"files": {"file": b"x"}, "data": {f"f{n}": "x" for n in range(60)}},
        {"files": {"file": b"x"}, "data": {"prompt": "x" * 70_000}},
    ):
        answer = httpx.post(url, **request)  # type: ignore[arg-type]
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_models_are_listed(client: OpenAI) -> None:
    [one] = client.models.list().data
    assert client.models.retrieve(one.id).id == one.id
    with pytest.raises(NotFoundError):
        client.models.retrieve("gpt-4o")


async def test_livekit_s_plugin_reads_a_recording(server: RunningServer) -> None:
    plugin = pytest.importorskip("livekit.plugins.openai", reason="livekit-plugins-openai is not installed")
    async with from_livekit() as http:
        stt = plugin.STT(api_key="any", base_url=f"{server.http_url}/v1", model="whisper-1")
        event = await stt.recognize(http.frame(speech(4.0).tobytes()))
        assert "printing" in event.alternatives[0].text.lower()
        await stt.aclose()


def test_silence_has_no_words(client: OpenAI) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(32_000, np.float32), 16_000, format="FLAC")
    answer = client.audio.transcriptions.create(file=("silence.flac", file.getvalue()), model="whisper-1")
    assert answer.text == ""
