"""voicewire's own services for pipecat and LiveKit, in the real frameworks, against the real server."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.served import free_port
from tests.assistants import Heard, Relay, from_livekit, from_pipecat
from tests.bare_install import run_bare
from tests.serving import real_engine, speech, text_of, transcribe
from voicewire.client.assistants.segment import Segment, Segments
from voicewire.streaming.key_file import Key, hashed, new_key, write_keys
from voicewire.streaming.messages import (
    EndpointMessage,
    FlushedMessage,
    TranscriptMessage,
    WordItem,
)
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]

SPOKEN_S = 3.0
# What is asked at the end is answered sooner.
SOON_S = 1.0


# ---- segments


def items(*words: str) -> list[WordItem]:
    return [
        WordItem(word=word, start=at, end=at + 1, probability=0.5, emitted=at)
        for at, word in enumerate(words)
    ]


def transcript(words: Sequence[WordItem], tail: Sequence[WordItem] = ()) -> TranscriptMessage:
    return TranscriptMessage(
        seq=0,
        words=list(words),
        tail=list(tail),
        text="",
        tail_text="",
        utterance=0,
        audio_received=0,
        audio_processed=0,
        buffered_ms=0,
    )


FLUSHED = FlushedMessage(seq=0, id=1, audio_processed=1.0)
ENDPOINT = EndpointMessage(seq=0, utterance=0, start=0.0, end=1.0, text="")


def test_a_segment_grows_and_ends_and_its_words_have_their_punctuation() -> None:
    segments = Segments()
    first = segments.hear(transcript(items(" Well"), items(" I")))
    assert first is not None
    assert (first.text, first.final) == ("Well I", False)
    assert segments.hear(transcript(items(",", " I"))) is not None
    assert segments.hear(transcript([])) is None, "no news"
    whole = segments.hear(FLUSHED)
    assert whole is not None
    assert [word.word for word in whole.words] == [" Well,", " I"]
    assert (whole.text, whole.final, whole.confidence) == ("Well, I", True, 0.5)
    assert segments.hear(transcript(items("."))) is None, "its word has been told"
    assert segments.hear(ENDPOINT) is None


@given(
    st.lists(st.tuples(st.lists(st.sampled_from([" a", " b", "."]), max_size=3), st.booleans()), max_size=20)
)
def test_every_word_is_in_one_final_segment(said: list[tuple[list[str], bool]]) -> None:
    segments, finals = Segments(), []
    for words, pauses in said:
        told = [segments.hear(transcript(items(*words))), segments.hear(ENDPOINT) if pauses else None]
        finals += [segment for segment in told if segment and segment.final]
    finals += filter(None, [segments.end()])
    letters = [word.word.strip(" .") for segment in finals for word in segment.words]
    assert letters == [word.strip() for words, _ in said for word in words if word != "."]


def test_what_is_missing_is_named_with_what_to_install() -> None:
    for name in ("pipecat", "livekit"):
        result = run_bare(f"import voicewire.client.assistants.{name}")
        assert f"pip install 'voicewire[{name}]'" in result.stderr


# ---- both frameworks


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    # Whoever does not come back is not waited for much longer than the tests' own cuts take.
    with running_server(ServerSettings(resume_s=1.5), engine=real_engine()) as server:
        yield server


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that asks for keys."""
    path = tmp_path / "keys.toml"
    write_keys(path, {"someone": Key(sha256=hashed(new_key()))})
    with running_server(ServerSettings(api_keys=path), engine=real_engine()) as server:
        yield server


def pipecat_service(url: str, **more: Any) -> Any:
    module = pytest.importorskip(
        "voicewire.client.assistants.pipecat", reason="pipecat-ai is not installed", exc_type=ImportError
    )
    return module.VoicewireSTTService(url=url, **more)


def livekit_stt(url: str, **more: Any) -> Any:
    module = pytest.importorskip(
        "voicewire.client.assistants.livekit", reason="livekit-agents is not installed", exc_type=ImportError
    )
    return module.STT(url=url, **more)


async def cut_soon(relay: Relay, after_s: float) -> None:
    await asyncio.sleep(after_s)
    relay.cut()


async def undisturbed(server: RunningServer, audio: bytes) -> str:
    """What a client hears whose connection holds."""
    return text_of(await asyncio.to_thread(transcribe, server, audio))


def words_in_order(words: Sequence[Any]) -> bool:
    """Each word has its time, and they follow each other."""
    return all(a[0] <= a[1] <= b[1] <= SPOKEN_S + 1 and a[0] <= b[0] for a, b in pairwise(words))


# ---- pipecat


def result_words(heard: Heard) -> list[tuple[float, float]]:
    results = [event.result for event in heard.events if type(event).__name__ == "TranscriptionFrame"]
    assert all(isinstance(result, Segment) and result.final for result in results)
    return [(word.start, word.end) for result in results for word in result.words]


async def test_pipecat_hears_words_as_they_come_and_the_turn_when_its_vad_stops(
    server: RunningServer,
) -> None:
    heard = await from_pipecat(pipecat_service(server.url), speech(SPOKEN_S).tobytes(), waits_s=SOON_S)
    assert not heard.errors
    assert "printing" in heard.interim[0].lower()
    assert len(heard.interim) > 1
    [final] = [event for event in heard.events if type(event).__name__ == "TranscriptionFrame"]
    assert final.finalized
    assert final.language == "en"
    assert len(heard.text.split()) == len(result_words(heard))
    assert words_in_order(result_words(heard))
    metrics = [
        one for frame in heard.events for one in getattr(frame, "data", []) if hasattr(one, "processor")
    ]
    [ttfb] = [one for one in metrics if type(one).__name__ == "TTFBMetricsData" and one.value > 0]
    assert ttfb.value >= 0.2, "pipecat counts from the beginning of the silence that stopped its VAD"
    [usage] = [one.value for one in metrics if type(one).__name__ == "STTUsageMetricsData"]
    assert usage.audio_seconds == pytest.approx(SPOKEN_S)


async def test_pipecat_loses_no_word_when_the_connection_is_cut(server: RunningServer) -> None:
    async with Relay(server).open() as relay:
        service = pipecat_service(relay.url)
        heard, _ = await asyncio.gather(
            from_pipecat(service, speech(SPOKEN_S).tobytes(), waits_s=SOON_S), cut_soon(relay, 0.8)
        )
        assert relay.connections == 2
    assert not heard.errors
    assert heard.text == await undisturbed(server, speech(SPOKEN_S).tobytes())
    assert words_in_order(result_words(heard))


async def test_pipecat_s_end_brings_the_last_words(server: RunningServer) -> None:
    from pipecat.frames.frames import VADUserStartedSpeakingFrame

    # The user speaks on, so that nothing but the end finishes the words.
    more = [VADUserStartedSpeakingFrame(), audio_frame(speech(SPOKEN_S).tobytes())]
    heard = await from_pipecat(pipecat_service(server.url), speech(1.0).tobytes(), *more, waits_s=0.0)
    assert "our purpose" in heard.text


def audio_frame(audio: bytes) -> Any:
    from pipecat.frames.frames import InputAudioRawFrame

    return InputAudioRawFrame(audio, 16_000, 1)


async def test_pipecat_ends_although_the_server_is_gone(server: RunningServer) -> None:
    async with Relay(server).open() as relay:
        service = pipecat_service(relay.url)
        running = asyncio.create_task(from_pipecat(service, speech(2.0).tobytes(), waits_s=0.5))
        await asyncio.sleep(1.0)
    # The road is closed: there is no way back.
    heard = await asyncio.wait_for(running, 10)
    assert "printing" in heard.interim[0].lower()


async def test_pipecat_is_told_of_what_will_not_pass(locked: RunningServer) -> None:
    service = pipecat_service(locked.url, api_key="wrong")
    began = time.monotonic()
    heard = await from_pipecat(service, speech(0.5).tobytes(), waits_s=0.1)
    assert time.monotonic() - began < 5
    assert len(heard.errors) == 1
    assert "API key" in heard.errors[0]
    assert not service.is_usable


async def test_pipecat_s_service_gives_up_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    service = pipecat_service(f"ws://127.0.0.1:{free_port()}")
    monkeypatch.setattr(f"{type(service).__module__}.exponential_backoff_time", lambda attempt: 0.1)
    heard = await from_pipecat(service, bytes(3200), waits_s=0.5)
    assert len(heard.errors) == 4
    assert "is the server running?" in heard.errors[0]
    assert not service.is_usable


async def test_pipecat_s_settings_hold_from_the_end_of_the_turn_on(server: RunningServer) -> None:
    from pipecat.frames.frames import STTUpdateSettingsFrame, UserStoppedSpeakingFrame
    from pipecat.transcriptions.language import Language

    async with Relay(server).open() as relay:
        service = pipecat_service(relay.url)
        delta = service.Settings(language=Language.DE_AT, endpoint_ms=300, keyterms=["Gutenberg"])
        behind = [STTUpdateSettingsFrame(delta=delta), UserStoppedSpeakingFrame()]
        heard = await from_pipecat(service, speech(SPOKEN_S).tobytes(), *behind, waits_s=SOON_S)
        assert relay.connections == 2
    assert "printing" in heard.text.lower(), "the words of the turn came before"
    assert (service.settings.language, service.settings.endpoint_ms) == ("de", 300)
    assert not heard.errors


# ---- LiveKit


def event_words(heard: Heard) -> list[tuple[float, float]]:
    finals = [event.alternatives[0] for event in heard.events if event.type.value == "final_transcript"]
    return [(word.start_time, word.end_time) for data in finals for word in data.words]


async def test_livekit_hears_speech_begin_grow_and_end(server: RunningServer) -> None:
    stt = livekit_stt(server.url)
    measured: list[Any] = []
    stt.on("metrics_collected", measured.append)
    async with from_livekit() as http:
        heard = await http.hear(stt, speech(SPOKEN_S).tobytes())
    assert heard.kinds[0] == "start_of_speech"
    assert heard.kinds[1] == "interim_transcript"
    assert heard.kinds[-1] == "end_of_speech"
    assert "printing" in heard.text.lower()
    assert len(heard.text.split()) == len(event_words(heard))
    assert words_in_order(event_words(heard))
    # Audio behind the last words is reported with the next ones, which never come.
    assert SPOKEN_S <= sum(one.audio_duration for one in measured) <= SPOKEN_S + 2
    assert (stt.model, stt.provider) == (measured[-1].metadata.model_name, "voicewire")


async def test_livekit_s_flush_brings_the_words_so_far_and_speech_goes_on(server: RunningServer) -> None:
    audio = speech(SPOKEN_S).tobytes()
    async with from_livekit() as http, livekit_stt(server.url).stream() as stream:
        stream.push_frame(http.frame(audio[:64_000]))
        stream.flush()
        kinds, finals = [], []
        async for event in stream:
            kinds.append(event.type.value)
            if event.type.value == "final_transcript":
                finals.append(event.alternatives[0].text)
                if len(finals) == 1:
                    stream.push_frame(http.frame(audio[64_000:]))
                    stream.end_input()
    assert "printing" in finals[0].lower()
    assert len(finals) == 2
    assert kinds.count("start_of_speech") == kinds.count("end_of_speech") == 1


async def test_livekit_loses_no_word_when_the_connection_is_cut(server: RunningServer) -> None:
    async with from_livekit() as http, Relay(server).open() as relay:
        stt = livekit_stt(relay.url)
        heard, _ = await asyncio.gather(http.hear(stt, speech(SPOKEN_S).tobytes()), cut_soon(relay, 0.8))
        assert relay.connections == 2
    # LiveKit hears silence behind it.
    assert heard.text == await undisturbed(server, speech(SPOKEN_S).tobytes() + bytes(64_000))


async def test_livekit_recognizes_a_whole_recording_at_any_rate(server: RunningServer) -> None:
    async with from_livekit() as http:
        whole = await livekit_stt(server.url).recognize(
            http.frame(speech(SPOKEN_S, 24_000).tobytes(), 24_000)
        )
        silence = await livekit_stt(server.url).recognize(http.frame(bytes(32_000)))
    assert "printing" in whole.alternatives[0].text.lower()
    assert whole.alternatives[0].words[0].start_time < 1
    assert silence.alternatives[0].text == ""


async def test_livekit_s_streams_take_new_options(server: RunningServer) -> None:
    async with from_livekit() as http, Relay(server).open() as relay:
        stt = livekit_stt(relay.url, language="english", keyterms=["Gutenberg"])
        hearing = asyncio.create_task(http.hear(stt, speech(SPOKEN_S).tobytes()))
        await asyncio.sleep(0.9)
        stt.update_options(endpoint_ms=400)
        stt._update_session_keyterms(["Kirkland"])
        heard = await hearing
        assert relay.connections == 2
    assert "printing" in heard.text.lower()
    assert len(heard.final) == 1, "the sentence was heard to its end"


async def test_livekit_s_words_have_one_clock_over_all_sessions(server: RunningServer) -> None:
    turn = speech(2.0).tobytes() + bytes(48_000)
    async with from_livekit() as http:
        stt = livekit_stt(server.url, endpoint_ms=300)
        hearing = asyncio.create_task(http.hear(stt, 2 * turn))
        await asyncio.sleep(0.9)
        stt.update_options(chunk_ms=200)
        heard = await hearing
    first, second = (
        event.alternatives[0] for event in heard.events if event.type.value == "final_transcript"
    )
    assert first.end_time < 3 < 3.5 < second.start_time < second.end_time < 6


async def test_livekit_is_told_of_what_will_not_pass(locked: RunningServer) -> None:
    from livekit.agents import APIError

    async with from_livekit() as http, livekit_stt(locked.url, api_key="wrong").stream() as stream:
        stream.push_frame(http.frame(bytes(3200)))
        with pytest.raises(APIError) as caught:
            await anext(stream)
    assert caught.value.body == "unauthorized"
    assert not caught.value.retryable


async def test_livekit_s_streams_are_dropped_at_once(server: RunningServer) -> None:
    stt = livekit_stt(server.url)
    async with from_livekit() as http:
        stream = stt.stream()
        stream.push_frame(http.frame(speech(SPOKEN_S).tobytes()))
        assert (await anext(stream)).type.value == "start_of_speech"
        await asyncio.wait_for(stt.aclose(), 2)


def test_the_words_of_a_segment_are_those_of_the_protocol(server: RunningServer) -> None:
    """One session told twice: as the server sends it, and in segments."""
    messages = transcribe(server, speech(SPOKEN_S).tobytes())
    segments = Segments()
    parsed = [TranscriptMessage.model_validate(one) for one in messages if one["type"] == "transcript"]
    for message in parsed:
        segments.hear(message)
    whole = segments.end()
    assert whole is not None
    assert whole.text == "".join(message.text for message in parsed).strip()
