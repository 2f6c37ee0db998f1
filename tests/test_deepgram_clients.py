"""Clients of Deepgram's, unmodified, against the real server: live, recordings, refusals, assistants."""

import asyncio
import io
import json
import socket
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.assistants import from_livekit, from_pipecat
from tests.serving import CLIP, pieces, real_engine, speech, wait_for_slots
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]
deepgram = pytest.importorskip(
    "deepgram", reason="deepgram-sdk is not installed: pip install 'voicewire[clients]'"
)
from deepgram import AsyncDeepgramClient, DeepgramClient, DeepgramClientEnvironment  # noqa: E402
from deepgram.core import ApiError  # noqa: E402
from deepgram.core.events import EventType  # noqa: E402

LIVE = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(upload_bytes=200_000), engine=real_engine()) as server:
        yield server


def environment(server: RunningServer) -> DeepgramClientEnvironment:
    sockets = server.http_url.replace("http", "ws")
    return DeepgramClientEnvironment(
        base=server.http_url, production=sockets, agent=sockets, agent_rest=server.http_url
    )


class Heard:
    """What a client of the SDK is told."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def of(self, kind: str) -> list[Any]:
        return [message for message in self.messages if message.type == kind]

    @property
    def finals(self) -> list[Any]:
        return [message for message in self.of("Results") if message.is_final]

    @property
    def text(self) -> str:
        texts = (message.channel.alternatives[0].transcript for message in self.finals)
        return " ".join(filter(None, texts))


@asynccontextmanager
async def listening(server: RunningServer, **query: str) -> AsyncIterator[tuple[Any, Heard]]:
    """A connection of the SDK, and what comes over it until the server has closed it."""
    client = AsyncDeepgramClient(api_key="any", environment=environment(server))
    heard = Heard()
    async with client.listen.v1.connect(**(LIVE | query)) as connection:
        connection.on(EventType.MESSAGE, heard.messages.append)
        reader = asyncio.create_task(connection.start_listening())
        yield connection, heard
        await asyncio.wait_for(reader, 30)


async def test_words_come_live_with_all_that_was_asked_for(server: RunningServer) -> None:
    query = {
        "interim_results": "true",
        "punctuate": "true",
        "vad_events": "true",
        "utterance_end_ms": "1000",
        "endpointing": "300",
        "language": "en-US",
    }
    async with listening(server, **query) as (connection, heard):
        for piece in pieces(speech(5.0).tobytes() + bytes(64_000), 3200):
            await connection.send_media(piece)
            await asyncio.sleep(0.02)
        await connection.send_close_stream()
    assert "printing" in heard.text.lower()
    results = heard.of("Results")
    first_final = next(index for index, message in enumerate(results) if message.is_final)
    assert first_final > 0, "interim results come first"
    for before, after in pairwise(heard.finals):
        assert before.start + before.duration == pytest.approx(after.start, abs=0.002)
    assert sum(message.duration for message in heard.finals) == pytest.approx(7.0, abs=0.01)
    assert any(message.speech_final for message in results)
    words = [word for message in heard.finals for word in message.channel.alternatives[0].words]
    assert all(0 <= word.start <= word.end <= 7 and 0 < word.confidence <= 1 for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert " ".join(word.punctuated_word for word in words) == heard.text
    assert heard.of("SpeechStarted")[0].timestamp < words[0].start
    assert len(heard.of("UtteranceEnd")) == 1
    assert heard.messages[-1].type == "Metadata"
    assert heard.messages[-1].duration == pytest.approx(7.0)


async def test_finalize_answers_at_once_and_the_stream_goes_on(server: RunningServer) -> None:
    async with listening(server, punctuate="true") as (connection, heard):
        await connection.send_keep_alive()
        await connection.send_finalize()
        audio = speech(6.0).tobytes()
        await connection.send_media(audio[:80_001])
        await connection.send_finalize()
        while sum(bool(message.from_finalize) for message in heard.finals) < 2:
            await asyncio.sleep(0.02)
        assert "printing" in heard.text.lower()
        first, second = [message for message in heard.finals if message.from_finalize]
        assert first.channel.alternatives[0].transcript == ""
        assert second.start + second.duration == pytest.approx(2.5, abs=0.01)
        before = heard.text
        await connection.send_media(audio[80_001:])
        await connection.send_close_stream()
    assert heard.text.startswith(before)
    assert "art" in heard.text.removeprefix(before).lower()


@pytest.mark.parametrize("query", [{"encoding": "lpc"}, {"language": "xx"}, {"channels": "9"}])
async def test_what_cannot_be_is_refused_at_the_handshake(
    server: RunningServer, query: dict[str, str]
) -> None:
    with pytest.raises(ApiError) as caught:
        async with listening(server, **query):
            pass
    assert caught.value.status_code == 400


async def test_a_refusal_says_why_in_deepgram_s_shape(server: RunningServer) -> None:
    url = server.http_url.replace("http", "ws") + "/v1/listen?encoding=linear16"
    with pytest.raises(InvalidStatus) as caught:
        await connect(url)
    body = json.loads(caught.value.response.body)
    assert body["err_code"] == "INVALID_QUERY_PARAMETER"
    assert "sample_rate" in body["err_msg"]


async def test_a_browser_s_key_among_the_subprotocols_is_understood(server: RunningServer) -> None:
    url = server.http_url.replace("http", "ws") + "/v1/listen"
    async with connect(url, subprotocols=["token", "a-key"]) as websocket:  # type: ignore[list-item]
        assert websocket.subprotocol == "token"
        await websocket.send(CLIP.read_bytes()[:20_000])
        await websocket.send('{"type": "CloseStream"}')
        told = [json.loads(message) async for message in websocket]
    assert "printing" in str(told).lower()
    assert told[-1]["type"] == "Metadata"


@pytest.mark.parametrize("data", ["{", '{"type": "Sing"}', "[]", '"' * 40])
async def test_a_message_that_is_none_is_answered_and_the_stream_goes_on(
    server: RunningServer, data: str
) -> None:
    async with connect(
        server.http_url.replace("http", "ws") + "/v1/listen?encoding=mulaw&sample_rate=8000"
    ) as one:
        await one.send(data)
        assert json.loads(await one.recv())["type"] == "Error"
        await one.send('{"type": "CloseStream"}')
        assert [json.loads(message)["type"] async for message in one][-1] == "Metadata"


async def test_a_message_that_is_too_big_is_told_in_deepgram_s_shape(server: RunningServer) -> None:
    async with connect(
        server.http_url.replace("http", "ws") + "/v1/listen?encoding=mulaw&sample_rate=8000"
    ) as one:
        await one.send(bytes(2_000_000))
        assert json.loads(await one.recv())["type"] == "Error"
        await one.wait_closed()
        assert one.close_code == 1009


# ---- recordings


def test_a_recording_is_answered_with_its_words(server: RunningServer) -> None:
    client = DeepgramClient(api_key="any", environment=environment(server))
    answer = client.listen.v1.media.transcribe_file(
        request=CLIP.read_bytes(), model="nova-3", punctuate=True, utterances=True
    )
    [channel] = answer.results.channels
    [alternative] = channel.alternatives
    assert alternative.transcript.startswith("Printing")
    assert len(alternative.words) == len(alternative.transcript.split())
    assert answer.metadata.duration == pytest.approx(23.6, abs=0.1)
    assert " ".join(one.transcript for one in answer.results.utterances) == alternative.transcript


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no audio",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"RIFF\x24\0\0\0WAVEfmt ",
    ],
)
def test_what_is_no_recording_is_refused(server: RunningServer, body: bytes) -> None:
    client = DeepgramClient(api_key="any", environment=environment(server))
    with pytest.raises(ApiError) as caught:
        client.listen.v1.media.transcribe_file(request=body, model="nova-3")
    assert caught.value.status_code == 400
    assert caught.value.body["err_code"] == "BAD_AUDIO"


def test_a_recording_is_bounded_and_never_fetched(server: RunningServer) -> None:
    client = DeepgramClient(api_key="any", environment=environment(server), max_retries=0)
    with pytest.raises(ApiError) as caught:
        client.listen.v1.media.transcribe_file(request=bytes(300_000), model="nova-3")
    assert caught.value.status_code == 413
    with pytest.raises(ApiError) as caught:
        client.listen.v1.media.transcribe_url(url="http://127.0.0.1/x.wav", model="nova-3")
    assert caught.value.status_code == 400


@pytest.mark.parametrize("path", ["/v1/listen", "/v1/audio/transcriptions"])
def test_a_recording_that_never_ends_gives_its_slot_back(path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    with running_server(ServerSettings(upload_s=0.5), engine=real_engine()) as server:
        with socket.create_connection((server.host, server.port)) as one:
            one.sendall(head.encode() + b"--x\r\n")
            one.settimeout(5)
            assert one.recv(1000) == b""
        wait_for_slots(server, 0, within_s=2)


# ---- frameworks for assistants


async def test_pipecat_s_deepgram_service_hears_the_turn_it_flushes(server: RunningServer) -> None:
    stt = pytest.importorskip("pipecat.services.deepgram.stt", reason="pipecat-ai is not installed")
    service = stt.DeepgramSTTService(api_key="any", base_url=server.http_url.replace("http", "ws"))
    heard = await from_pipecat(service, speech(4.0).tobytes())
    assert "printing" in heard.text.lower()
    assert heard.interim
    assert not heard.errors


async def test_livekit_s_deepgram_plugin_hears_speech_begin_and_end(server: RunningServer) -> None:
    plugin = pytest.importorskip(
        "livekit.plugins.deepgram", reason="livekit-plugins-deepgram is not installed"
    )
    async with from_livekit() as http:
        stt = plugin.STT(api_key="any", base_url=f"{server.http_url}/v1/listen", http_session=http.session)
        heard = await http.hear(stt, speech(4.0).tobytes())
        assert "printing" in heard.text.lower()
        assert heard.interim
        assert heard.kinds[0] == "start_of_speech"
        assert "end_of_speech" in heard.kinds
        whole = await stt.recognize(http.frame(speech(4.0).tobytes()))
    assert "printing" in whole.alternatives[0].text.lower()


def test_a_wav_file_s_parameters_need_not_be_named(server: RunningServer) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(speech(3.0).tobytes())
    client = DeepgramClient(api_key="any", environment=environment(server))
    answer = client.listen.v1.media.transcribe_file(request=file.getvalue(), model="nova-3")
    assert "printing" in answer.results.channels[0].alternatives[0].transcript
