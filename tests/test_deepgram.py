"""Deepgram's protocol without sockets: queries, containers, and a facade that is told what a session says."""

import contextlib
import json
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.saying import SessionSays, audio_of, native, replies
from voicewire.streaming.errors import DecodingError, ParameterError, SessionError
from voicewire.streaming.messages import Close, ErrorCode, Flush, KeepAlive, Start
from voicewire.streaming.protocols.container import ContainerReader
from voicewire.streaming.protocols.deepgram import DeepgramLive
from voicewire.streaming.protocols.deepgram_file import DeepgramFile
from voicewire.streaming.protocols.deepgram_query import ListenOptions, parse_query

RAW = {"encoding": "linear16", "sample_rate": "16000"}


def options(**query: str) -> ListenOptions:
    return parse_query((RAW | query).items())


def live(**query: str) -> DeepgramLive:
    facade = DeepgramLive(options(**query), "base", "r1", "2026-01-01T00:00:00.000Z")
    list(facade.begin())
    return facade


def results(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "Results"]


def transcript(message: dict[str, Any]) -> str:
    text: str = message["channel"]["alternatives"][0]["transcript"]
    return text


# ---- the query


def test_what_clients_send_of_themselves_is_understood() -> None:
    asked = parse_query(
        [
            ("model", "nova-3"),
            ("language", "en-US"),
            ("encoding", "linear16"),
            ("sample_rate", "16000"),
            ("channels", "1"),
            ("endpointing", "25"),
            ("keyterm", "one"),
            ("keyterm", "two words"),
            ("keywords", "three:2"),
            ("vad_events", "true"),
            ("no_delay", "true"),
            ("mip_opt_out", "false"),
            ("smart_format", "false"),
            ("punctuate", "true"),
        ]
    )
    assert asked.language_code == "en"
    assert asked.endpoint_ms == 200, "the recogniser's shortest"
    assert asked.formatted
    assert asked.vad_events
    assert asked.keyterms == ("one", "two words", "three")
    assert not asked.interim


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"encoding": "amr-nb"}, "encoding"),
        ({"keyterm": "x" * 61}, "keyterm"),
        ({"keywords": "..."}, "keyterm"),
        ({"sample_rate": "7999"}, "sample_rate"),
        ({"sample_rate": "١٦٠٠٠"}, "sample_rate"),
        ({"sample_rate": ""}, "sample_rate"),
        ({"channels": "3"}, "channels"),
        ({"channels": "2", "multichannel": "true"}, "multichannel"),
        ({"interim_results": "yes"}, "interim_results"),
        ({"utterance_end_ms": "1000"}, "utterance_end_ms"),
        ({"utterance_end_ms": "999", "interim_results": "true"}, "utterance_end_ms"),
        ({"endpointing": "soon"}, "endpointing"),
        ({"language": "e"}, "language"),
    ],
)
def test_a_wrong_parameter_is_named(query: dict[str, str], named: str) -> None:
    with pytest.raises(ParameterError) as caught:
        options(**query)
    assert caught.value.name == named


@given(
    st.lists(st.tuples(st.sampled_from([*ListenOptions.__slots__, "endpointing", "x"]), st.text(max_size=12)))
)
def test_any_query_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    try:
        asked = parse_query(query)
    except ParameterError:
        return
    assert 200 <= asked.endpoint_ms <= 10_000


# ---- containers


def wav(code: int = 1, bits: int = 16, rate: int = 16_000, channels: int = 1, extra: bytes = b"") -> bytes:
    form = struct.pack(
        "<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits
    )
    return (
        b"RIFF\0\0\0\0WAVE" + extra + b"fmt " + struct.pack("<I", len(form)) + form + b"data\xff\xff\xff\xff"
    )


def test_a_stream_s_first_bytes_say_what_it_is() -> None:
    for data, encoding in [
        (b"OggS...", "ogg_opus"),
        (b"fLaC...", "flac"),
        (wav(7, 8), "mulaw"),
        (wav(), "pcm_s16le"),
    ]:
        content = ContainerReader().push(data)
        assert content is not None
        assert content.encoding == encoding


@given(st.integers(1, 200), st.binary(max_size=300))
def test_a_wav_header_may_come_in_any_pieces(size: int, samples: bytes) -> None:
    data = wav(rate=44_100, channels=2, extra=b"LIST\x05\0\0\0abcde\0") + samples
    reader, got = ContainerReader(), None
    for start in range(0, len(data), size):
        got = got or reader.push(data[start : start + size])
        if got is not None:
            assert (got.encoding, got.rate, got.channels) == ("pcm_s16le", 44_100, 2)
            assert samples.startswith(got.rest)
            return
    raise AssertionError("the header was whole")


@given(st.binary(max_size=100))
def test_any_bytes_are_a_container_or_refused(data: bytes) -> None:
    for head in (b"", b"RIFF", wav()[:20]):
        with contextlib.suppress(DecodingError):
            ContainerReader().push(head + data)


@pytest.mark.parametrize(
    "data", [b"\x1aE\xdf\xa3webm", b"ID3\x04", wav(code=2), wav(bits=24), wav(channels=6)]
)
def test_other_containers_are_refused_with_words(data: bytes) -> None:
    with pytest.raises(DecodingError, match=r"send|name"):
        ContainerReader().push(data)


# ---- the live stream


def test_the_query_begins_the_session() -> None:
    facade = DeepgramLive(
        options(encoding="mulaw", sample_rate="8000", language="en-GB"), "base", "r1", "now"
    )
    [start] = native(facade.begin())
    assert isinstance(start, Start)
    assert (start.encoding, start.sample_rate, start.language, start.interim) == ("mulaw", 8000, "en", False)


def test_without_an_encoding_the_audio_says_what_it_is() -> None:
    facade = DeepgramLive(parse_query([]), "base", "r1", "now")
    assert not list(facade.begin())
    assert not list(facade.receive_text('{"type": "KeepAlive"}'))
    steps = list(facade.receive_bytes(wav(rate=22_050) + b"\1\2\3"))
    [start] = native(steps)
    assert isinstance(start, Start)
    assert start.sample_rate == 22_050
    assert audio_of(steps) == b"\1\2"
    assert audio_of(facade.receive_bytes(b"\4")) == b"\3\4"


def test_control_messages_become_the_session_s_own() -> None:
    facade = live()
    for text, kind in [("KeepAlive", KeepAlive), ("Finalize", Flush), ("CloseStream", Close)]:
        [message] = native(facade.receive_text(json.dumps({"type": text, "channel": 0})))
        assert isinstance(message, kind)
    [answer] = replies(facade.receive_text('{"type": "Configure", "keyterms": ["a"]}'))
    assert answer["type"] == "ConfigureFailure"
    [answer] = replies(facade.receive_text('{"type": "Configure", "features": {"numerals": true}}'))
    assert answer["type"] == "ConfigureSuccess"


def test_closing_before_any_audio_still_gives_metadata() -> None:
    facade = DeepgramLive(parse_query([]), "base", "r1", "now")
    list(facade.begin())
    assert [message.type for message in native(facade.receive_text('{"type": "CloseStream"}'))] == [
        "start",
        "close",
    ]


def test_ranges_of_final_results_follow_each_other_and_hold_every_word() -> None:
    facade, says = live(punctuate="true", interim_results="true"), SessionSays()
    told = []
    for message in (
        says.words(" Printing", tail=" then"),
        says.words(" then", " for", tail=" our"),
        says.words(",", " our"),
        says.endpoint(),
        says.words(" Now"),
        says.flushed(),
        says.done(),
    ):
        told += replies(facade.tell(message))
    finals = [message for message in results(told) if message["is_final"]]
    assert " ".join(filter(None, map(transcript, finals))) == "Printing then for, our Now"
    for before, after in pairwise(finals):
        assert before["start"] + before["duration"] == pytest.approx(after["start"])
    assert [transcript(message) for message in finals if message["speech_final"]] == ["our"]
    assert [transcript(message) for message in finals if message["from_finalize"]] == ["Now"]
    for message in results(told):
        [alternative] = message["channel"]["alternatives"]
        assert all(word["confidence"] > 0 and word["punctuated_word"] for word in alternative["words"])
        assert (alternative["confidence"] > 0) is bool(alternative["words"])
    assert told[-1]["type"] == "Metadata"
    assert told[-1]["duration"] == pytest.approx(says.now_s)


def test_without_punctuation_words_are_bare() -> None:
    facade, says = live(), SessionSays()
    list(facade.tell(says.words(" Don't", " STOP", "!")))
    [final] = results(replies(facade.tell(says.endpoint())))
    assert transcript(final) == "stop"
    assert "punctuated_word" not in final["channel"]["alternatives"][0]["words"][0]


def test_a_finalize_is_answered_even_where_nothing_was_said() -> None:
    facade, says = live(), SessionSays()
    [answer] = replies(facade.tell(says.flushed()))
    assert answer["from_finalize"]
    assert answer["is_final"]
    assert transcript(answer) == ""


def test_vad_events_and_interim_results_come_only_where_they_are_asked_for() -> None:
    says = SessionSays()
    assert not replies(live().tell(says.speech_started()))
    assert replies(live(vad_events="true").tell(says.speech_started()))[0]["type"] == "SpeechStarted"
    assert not replies(live().tell(says.words(tail=" then")))
    [interim] = replies(live(interim_results="true").tell(says.words(tail=" then")))
    assert not interim["is_final"]


def test_an_interim_result_is_not_said_twice() -> None:
    facade, says = live(interim_results="true"), SessionSays()
    message = says.words(tail=" then")
    assert replies(facade.tell(message))
    assert not replies(facade.tell(message))


def test_silence_after_a_word_is_told_once() -> None:
    facade, says = live(interim_results="true", utterance_end_ms="1000", endpointing="5000"), SessionSays()
    told = replies(facade.tell(says.words(" Yes")))
    for _ in range(4):
        told += replies(facade.tell(says.silence(0.6)))
    ends = [message for message in told if message["type"] == "UtteranceEnd"]
    assert [end["last_word_end"] for end in ends] == [pytest.approx(says.last_word_s)]
    assert [transcript(message) for message in results(told) if message["is_final"]] == ["yes"]


def test_endpointing_can_be_refused() -> None:
    facade, says = live(endpointing="false"), SessionSays()
    list(facade.tell(says.words(" Yes")))
    [final] = replies(facade.tell(says.endpoint()))
    assert final["is_final"]
    assert not final["speech_final"]


def test_what_ends_the_session_is_told_in_deepgram_s_shape() -> None:
    [error] = replies(live().tell(SessionSays().error(ErrorCode.IDLE_TIMEOUT)))
    assert error["type"] == "Error"
    assert error["variant"] == "idle_timeout"
    assert error["description"]


@given(
    st.text(max_size=60)
    | st.dictionaries(st.sampled_from(["type", "keyterms"]), st.integers()).map(json.dumps)
)
def test_any_text_is_answered_in_deepgram_s_shape(text: str) -> None:
    for reply in replies(live().receive_text(text)):
        assert reply["type"] in ("Error", "ConfigureSuccess")


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_make_a_stream_or_an_error_of_audio(parts: list[bytes]) -> None:
    facade = DeepgramLive(parse_query([]), "base", "r1", "now")
    list(facade.begin())
    with contextlib.suppress(SessionError):
        for part in parts:
            list(facade.receive_bytes(part))


# ---- recordings


def test_the_answer_about_a_recording_has_its_words_and_utterances() -> None:
    answer, says = (
        DeepgramFile(options(punctuate="true", utterances="true"), "base", "r1", "now"),
        SessionSays(),
    )
    for message in (
        says.words(" One", ","),
        says.words(" two"),
        says.endpoint(),
        says.words(" three"),
        says.done(),
    ):
        answer.hear(message)
    told = json.loads(answer.text("00"))
    [alternative] = told["results"]["channels"][0]["alternatives"]
    assert alternative["transcript"] == "One, two three"
    assert [word["word"] for word in alternative["words"]] == ["one", "two", "three"]
    assert [one["transcript"] for one in told["results"]["utterances"]] == ["One, two", "three"]
    assert told["metadata"]["duration"] == pytest.approx(says.now_s)
