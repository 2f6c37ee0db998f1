"""Vosk's protocol: the facade alone, and its own test client's behaviour against the real server."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.saying import SessionSays, audio_of, native, replies
from tests.serving import pieces, real_engine, speech
from voicewire.streaming.errors import SessionError
from voicewire.streaming.messages import Close, ErrorCode, Flush, Start
from voicewire.streaming.protocols.vosk import Vosk
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]
FRAME = bytes(3200)  # a fifth of a second at 8 kHz


# ---- without sockets


def test_a_client_s_config_holds_and_names_no_model() -> None:
    facade = Vosk()
    config = {
        "sample_rate": 16_000.0,
        "words": False,
        "model": "/etc",
        "phrase_list": ["a"],
        "max_alternatives": 0,
    }
    assert not list(facade.receive_text(json.dumps({"config": config})))
    steps = list(facade.receive_bytes(FRAME + b"\1"))
    [start] = native(steps)
    assert isinstance(start, Start)
    assert start.sample_rate == 16_000
    assert audio_of(steps) == FRAME


def test_without_a_config_it_is_telephone_audio() -> None:
    [start] = native(Vosk().receive_bytes(FRAME))
    assert isinstance(start, Start)
    assert start.sample_rate == 8_000


def test_every_frame_has_one_answer_and_results_are_not_lost() -> None:
    facade, says = Vosk(), SessionSays()
    told: list[dict[str, Any]] = []
    for message in (
        says.words(" One", tail=" two"),
        says.words(" two", "."),
        says.endpoint(),
        says.words(" Three"),
        says.endpoint(),
        says.words(tail=" four"),
    ):
        told += replies(facade.receive_bytes(FRAME))
        told += replies(facade.tell(message))
    for _ in range(20):
        told += replies(facade.receive_bytes(FRAME))
        told += replies(facade.tell(says.silence(0.2)))
    told += replies(facade.tell(says.silence(2.0)))
    assert len(told) == 26
    assert [answer["text"] for answer in told if "text" in answer] == ["one two", "three"]
    result = next(answer for answer in told if "text" in answer)["result"]
    assert [word["word"] for word in result] == ["one", "two"]
    assert all(0 < word["conf"] <= 1 and word["start"] < word["end"] for word in result)


def test_an_answer_waits_for_the_session_but_never_for_more_audio() -> None:
    facade, says = Vosk(), SessionSays()
    answered = 0
    for _ in range(7):
        answered += len(replies(facade.receive_bytes(FRAME)))
    assert answered == 7, "a session may have nothing to look at so far"
    assert not replies(facade.receive_bytes(FRAME))
    says.now_s = 0.2
    assert len(replies(facade.tell(says.words(tail=" a")))) == 1


@pytest.mark.parametrize("text", ['{"eof" : 1}', '{"eof":1}', ' {"eof": 1, "x": 2} '])
def test_the_end_gives_what_is_left_once(text: str) -> None:
    facade, says = Vosk(), SessionSays()
    told = []
    for _ in range(12):
        told += replies(facade.receive_bytes(FRAME))
    assert isinstance(native(facade.receive_text(text))[0], Close)
    for message in (says.words(" One"), says.endpoint(), says.words(" two"), says.done()):
        told += replies(facade.tell(message))
    assert len(told) == 13
    assert [answer["text"] for answer in told if "text" in answer] in (["one two"], ["one", "two"])


def test_a_reset_gives_a_result_and_goes_on() -> None:
    facade, says = Vosk(), SessionSays()
    steps = [*facade.receive_bytes(FRAME), *facade.receive_text('{"reset" : 1}')]
    assert isinstance(native(steps)[-1], Flush)
    told = []
    for message in (says.words(" One"), says.flushed(), says.words(" two"), says.done()):
        told += replies(facade.tell(message))
    assert [answer["text"] for answer in told if "text" in answer] == ["one", "two"]


def test_alternatives_have_their_own_shape() -> None:
    facade, says = Vosk(), SessionSays()
    list(facade.receive_text('{"config": {"max_alternatives": 3}}'))
    list(facade.receive_bytes(FRAME))
    list(facade.tell(says.words(" One")))
    [answer] = replies(facade.tell(says.done()))
    assert [one["text"] for one in answer["alternatives"]] == ["one"]


@settings(max_examples=40)
@given(
    st.text(max_size=30)
    | st.dictionaries(st.sampled_from(["config", "eof", "reset"]), st.integers()).map(json.dumps)
)
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        steps = list(Vosk().receive_text(text))
    except SessionError as error:
        assert error.code is ErrorCode.BAD_MESSAGE  # noqa: PT017
    else:
        assert all(message.type in ("start", "close", "flush") for message in native(steps))


# ---- over sockets


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(vosk="0"), engine=real_engine()) as server:
        yield server


async def test_the_test_client_of_vosk_hears_its_file(server: RunningServer) -> None:
    """As its script does: a frame, an answer, a frame, an answer."""
    answers = []
    async with connect(f"ws://{server.host}:{server.vosk_port}") as websocket:
        await websocket.send(json.dumps({"config": {"sample_rate": 16_000}}))
        for frame in pieces(speech(5.0).tobytes() + bytes(96_000), 6400):
            await websocket.send(frame)
            answers.append(json.loads(await asyncio.wait_for(websocket.recv(), 30)))
        await websocket.send('{"eof" : 1}')
        answers.append(json.loads(await websocket.recv()))
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    assert len(answers) == 41
    partials = [answer["partial"] for answer in answers if "partial" in answer]
    assert "printing" in " ".join(partials)
    results = [answer for answer in answers if "text" in answer]
    assert len(results) >= 2, "an endpoint before the end"
    assert results[0]["text"].startswith("printing")
    words = [word for answer in results for word in answer.get("result", [])]
    assert " ".join(word["word"] for word in words) == " ".join(one["text"] for one in results if one["text"])
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)


async def test_the_path_on_the_main_port_speaks_it_too(server: RunningServer) -> None:
    async with connect(server.http_url.replace("http", "ws") + "/vosk") as websocket:
        await websocket.send(speech(2.0, 8000).tobytes())
        await websocket.recv()
        await websocket.send('{"reset" : 1}')
        assert "printing" in json.loads(await websocket.recv())["text"]


async def test_who_is_silent_stays_while_it_pings() -> None:
    with running_server(ServerSettings(idle_s=0.5), engine=real_engine()) as server:
        url = server.http_url.replace("http", "ws") + "/vosk"
        async with connect(url, ping_interval=0.1) as lively, connect(url, ping_interval=None) as mute:
            for websocket in (lively, mute):
                await websocket.send(FRAME)
                await websocket.recv()
            assert json.loads(await asyncio.wait_for(mute.recv(), 10))["code"] == "idle_timeout"
            await lively.send(FRAME)
            assert "partial" in json.loads(await asyncio.wait_for(lively.recv(), 10))


@pytest.mark.parametrize("data", ["{", '{"config": {"sample_rate": 1}}', '{"config": 3}'])
async def test_what_is_wrong_ends_its_own_session_with_a_word(server: RunningServer, data: str) -> None:
    async with connect(f"ws://{server.host}:{server.vosk_port}") as websocket:
        await websocket.send(data)
        assert json.loads(await websocket.recv())["code"] == "bad_message"
        await websocket.wait_closed()
        assert websocket.close_code == 1008
