"""OpenAI's realtime transcription without sockets: settings, items, errors that end nothing."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.saying import SessionSays, audio_of, native, replies
from voicewire.streaming.messages import Configure, ErrorCode, Flush, Start
from voicewire.streaming.protocols.facade import Step
from voicewire.streaming.protocols.openai_realtime import OpenAIRealtime

SECOND = base64.b64encode(bytes(48_000)).decode()
APPEND = {"type": "input_audio_buffer.append", "audio": SECOND}
COMMIT = {"type": "input_audio_buffer.commit", "event_id": "mine"}
CLEAR = {"type": "input_audio_buffer.clear"}


def send(facade: OpenAIRealtime, *events: dict[str, Any]) -> list[Step]:
    return [step for event in events for step in facade.receive_text(json.dumps(event))]


def update(**given: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": given}}}


def begun(**given: Any) -> OpenAIRealtime:
    facade = OpenAIRealtime("s1", "base")
    list(facade.begin())
    send(facade, update(**given))
    return facade


def manual() -> OpenAIRealtime:
    return begun(turn_detection=None)


def kinds(told: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("input_audio_buffer.").rpartition(".")[2] for event in told]


def deltas(told: list[dict[str, Any]], item: str) -> str:
    return "".join(event["delta"] for event in told if "delta" in event and event["item_id"] == item)


# ---- settings


def test_the_server_speaks_first() -> None:
    [created] = replies(OpenAIRealtime("s1", "base").begin())
    assert created["type"] == "session.created"
    assert created["session"]["type"] == "transcription"
    assert created["session"]["audio"]["input"]["turn_detection"] == {"type": "server_vad"}


@pytest.mark.parametrize(
    ("form", "encoding", "rate"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, "pcm_s16le", 24_000),
        ({"type": "audio/pcm"}, "pcm_s16le", 24_000),
        ({"type": "audio/pcmu"}, "mulaw", 8_000),
        ({"type": "audio/pcma"}, "alaw", 8_000),
    ],
)
def test_an_update_begins_the_session(form: dict[str, Any], encoding: str, rate: int) -> None:
    steps = send(OpenAIRealtime("s1", "base"), update(format=form, transcription={"language": "en-GB"}))
    [start] = native(steps)
    assert isinstance(start, Start)
    assert (start.encoding, start.sample_rate, start.language) == (encoding, rate, "en")
    [updated] = replies(steps)
    assert updated["type"] == "session.updated"
    assert updated["session"]["audio"]["input"]["format"]["type"] == form["type"]


def test_the_older_update_is_understood() -> None:
    session = {"input_audio_format": "g711_ulaw", "turn_detection": None}
    steps = send(OpenAIRealtime("s1", "base"), {"type": "transcription_session.update", "session": session})
    [start] = native(steps)
    assert isinstance(start, Start)
    assert start.encoding == "mulaw"
    [updated] = replies(steps)
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["turn_detection"] is None


def test_audio_alone_begins_the_session_too() -> None:
    facade = OpenAIRealtime("s1", "base")
    steps = send(facade, APPEND)
    assert native(steps)[0].type == "start"
    assert len(audio_of(steps)) == 48_000


@pytest.mark.parametrize(
    ("turns", "pause"),
    [
        ({"type": "server_vad", "silence_duration_ms": 350, "threshold": 0.5, "prefix_padding_ms": 600}, 350),
        ({"type": "server_vad", "silence_duration_ms": 10}, 200),
        ({"type": "server_vad"}, 500),
        ({"type": "semantic_vad", "eagerness": "low"}, 1500),
        (None, 700),
    ],
)
def test_the_pause_that_ends_a_turn(turns: dict[str, Any] | None, pause: int) -> None:
    [start] = native(send(OpenAIRealtime("s1", "base"), update(turn_detection=turns)))
    assert isinstance(start, Start)
    assert start.endpoint_ms == pause
    later = native(
        send(
            begun(turn_detection={"type": "server_vad", "silence_duration_ms": 900}),
            update(turn_detection=turns),
        )
    )
    assert later == [Configure(endpoint_ms=pause)]


@pytest.mark.parametrize(
    "given",
    [
        {"format": {"type": "audio/mp3"}},
        {"format": {"type": "audio/pcm", "rate": 1}},
        {"turn_detection": {"type": "none"}},
        {"transcription": {"language": "e"}},
    ],
)
def test_a_wrong_setting_is_named_and_changes_nothing(given: dict[str, Any]) -> None:
    facade = OpenAIRealtime("s1", "base")
    [error] = replies(send(facade, update(**given)))
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert error["error"]["param"].startswith("session.audio.input")


def test_format_and_language_hold_from_the_first_audio_on() -> None:
    for wish in ({"format": {"type": "audio/pcmu"}}, {"transcription": {"language": "de"}}):
        [error] = replies(send(begun(), update(**wish)))
        assert error["type"] == "error"
        assert "connect again" in error["error"]["message"]


# ---- items


def test_turns_of_the_speaker_become_items() -> None:
    facade, says = begun(), SessionSays()
    told = []
    for message in (
        says.speech_started(),
        says.words(" Hello", tail=" the"),
        says.words(" there", "."),
        says.endpoint(),
        says.words(" Again"),
        says.endpoint(),
    ):
        told += replies(facade.tell(message))
    assert kinds(told) == [
        *("speech_started", "delta", "delta", "speech_stopped", "committed", "added", "completed"),
        *("speech_started", "delta", "speech_stopped", "committed", "added", "completed"),
    ]
    first, second = [event for event in told if "transcript" in event]
    assert (first["transcript"], second["transcript"]) == ("Hello there.", "Again")
    for completed in (first, second):
        assert deltas(told, completed["item_id"]) == completed["transcript"]
        assert completed["usage"]["seconds"] > 0
    assert [event["previous_item_id"] for event in told if event["type"].endswith("committed")] == [
        None,
        first["item_id"],
    ]
    assert len({event["event_id"] for event in told}) == len(told)


def test_a_commit_is_answered_at_once_and_completed_with_its_words() -> None:
    facade, says = manual(), SessionSays()
    told = replies(facade.tell(says.words(" One")))
    steps = send(facade, APPEND, COMMIT)
    assert isinstance(native(steps)[-1], Flush)
    told += replies(steps)
    assert kinds(told) == ["delta", "committed", "added"]
    told += replies(send(facade, APPEND))
    for message in (says.words(" two"), says.endpoint(), says.flushed(), says.words(" three")):
        told += replies(facade.tell(message))
    assert kinds(told) == ["delta", "committed", "added", "delta", "completed", "delta"]
    assert told[-2]["transcript"] == "One two"
    assert told[-1]["item_id"] != told[-2]["item_id"]


def test_a_commit_of_nothing_is_an_error() -> None:
    for facade in (manual(), OpenAIRealtime("s1", "base")):
        [error] = replies(send(facade, COMMIT))
        assert error["error"]["code"] == "input_audio_buffer_commit_empty"
        assert error["error"]["event_id"] == "mine"
    facade = manual()
    send(facade, APPEND, COMMIT)
    assert replies(send(facade, COMMIT))[0]["type"] == "error"


def test_words_of_cleared_audio_are_not_told() -> None:
    facade, says = manual(), SessionSays()
    steps = send(facade, APPEND, CLEAR)
    assert kinds(replies(steps)) == ["cleared"]
    assert isinstance(native(steps)[0], Flush)
    told = []
    for message in (says.words(" no"), says.flushed(), says.words(" yes")):
        told += replies(facade.tell(message))
    send(facade, APPEND, COMMIT)
    told += replies(facade.tell(says.flushed()))
    assert [event["delta"] for event in told if "delta" in event] == ["yes"]
    assert [event["transcript"] for event in told if "transcript" in event] == ["yes"]


def test_a_noise_without_words_ends_too() -> None:
    facade, says = begun(), SessionSays()
    told = replies(facade.tell(says.speech_started()))
    for _ in range(4):
        told += replies(facade.tell(says.silence(1.0)))
    assert kinds(told) == ["speech_started", "speech_stopped", "committed", "added", "completed"]
    assert told[-1]["transcript"] == ""


# ---- what is wrong


def test_what_ends_the_session_is_told_in_openai_s_shape() -> None:
    [error] = replies(begun().tell(SessionSays().error(ErrorCode.OVERLOADED)))
    assert error["type"] == "error"
    assert error["error"]["type"] == "server_error"
    assert error["error"]["code"] == "overloaded"


EVENTS = st.sampled_from(
    [
        "session.update",
        "transcription_session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "response.create",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "audio", "input", "format", "turn_detection"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(
    st.lists(
        st.text(max_size=20)
        | JSON.map(json.dumps)
        | st.builds(
            lambda kind, audio, session: json.dumps({"type": kind, "audio": audio, "session": session}),
            EVENTS,
            JSON,
            JSON,
        ),
        max_size=6,
    )
)
def test_any_text_is_answered_in_openai_s_shape(texts: list[str]) -> None:
    facade = OpenAIRealtime("s1", "base")
    for text in texts:
        for reply in replies(facade.receive_text(text)):
            assert reply["type"] in (
                "error",
                "session.updated",
                "transcription_session.updated",
                "input_audio_buffer.cleared",
                "input_audio_buffer.committed",
                "conversation.item.added",
            )
            if reply["type"] == "error":
                assert reply["error"]["message"]


def test_binary_messages_are_refused() -> None:
    assert replies(begun().receive_bytes(b"\0"))[0]["type"] == "error"
