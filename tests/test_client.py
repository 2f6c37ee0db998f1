"""The client against the real server, on real speech; and the examples of its documentation."""

import asyncio
import itertools
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.bare_install import run_bare
from tests.serving import CLIP, SLOTS, real_engine, speech, wait_for_slots
from voicewire.client import ServerError, StreamClosed, connect, sync
from voicewire.client.audio_files import open_audio
from voicewire.streaming.messages import ServerMessage, TranscriptMessage
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.subtitles.transcripts import TranscriptBuilder

DOCS = Path(__file__).resolve().parent.parent / "docs" / "client.md"
EXAMPLES = re.findall(
    r"^```(python|bash)\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
ADDRESS = "127.0.0.1:8765"

pytestmark = pytest.mark.usefixtures("no_slot_is_lost")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(idle_s=2.0), engine=real_engine()) as server:
        yield server


def text_of(events: list[ServerMessage]) -> str:
    return "".join(event.text for event in events if isinstance(event, TranscriptMessage))


async def test_words_come_timed_while_audio_is_sent(server: RunningServer) -> None:
    builder = TranscriptBuilder()
    events: list[ServerMessage] = []
    with open_audio(CLIP) as audio:
        async with connect(server.url, sample_rate=audio.sample_rate) as stream:
            async for event in stream.feed(audio.blocks(0.1)):
                builder.add(event)
                events.append(event)
            done = await stream.close()
    transcript = builder.finish("en")
    assert transcript.text.lower().startswith("printing")
    assert done.totals.words == len(transcript.words) > 30
    assert transcript.duration_s == done.totals.audio_s == pytest.approx(23.64, abs=0.01)
    assert all(before.start <= after.start for before, after in itertools.pairwise(transcript.words))
    assert all(0 <= word.start <= word.end <= done.totals.audio_s for word in transcript.words)
    transcripts = [event for event in events if isinstance(event, TranscriptMessage)]
    assert any(event.tail for event in transcripts)
    assert "".join(word.word for word in transcript.words) == text_of(events)
    assert events[-1].type == "done"


async def test_bytes_samples_and_cuts_make_no_difference(server: RunningServer) -> None:
    async def hear(pieces: list[bytes | np.ndarray]) -> str:
        async with connect(server.url) as stream:
            return text_of([event async for event in stream.feed(pieces)])

    samples = speech(4.0)
    data = samples.tobytes()
    whole = await hear([data])
    assert whole.strip()
    assert await hear([samples]) == whole
    assert await hear([data[start : start + 3_333] for start in range(0, len(data), 3_333)]) == whole


async def test_compressed_audio(server: RunningServer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "speech.flac", speech(4.0), 16_000)
    for encoding, data in (
        ("ogg_opus", CLIP.read_bytes()),
        ("flac", (tmp_path / "speech.flac").read_bytes()),
    ):
        rate = 48_000 if encoding == "ogg_opus" else 16_000
        async with connect(server.url, encoding=encoding, sample_rate=rate) as stream:
            events = [event async for event in stream.feed([data])]
        assert "printing" in text_of(events).lower()


async def test_after_a_flush_every_word_has_come_and_the_stream_goes_on(server: RunningServer) -> None:
    samples = speech(10.0)
    async with connect(server.url) as stream:
        await stream.send(samples[:80_000])
        flushed = await stream.flush("first half")
        assert flushed.audio_processed == pytest.approx(5.0, abs=0.05)
        first = []
        while (event := await anext(stream)).type != "flushed":
            first.append(event)
        assert len(text_of(first).split()) >= 6
        await stream.send(samples[80_000:])
        await stream.close()
        rest = [event async for event in stream]
    assert len(text_of(rest).split()) >= 6
    words = [word for event in first + rest if isinstance(event, TranscriptMessage) for word in event.words]
    assert words[-1].end > 8.0


async def test_settings_change_while_the_stream_runs(server: RunningServer) -> None:
    async with connect(server.url, chunk_ms=300, commit_ms=1200, words=False) as stream:
        assert (stream.settings.chunk_ms, stream.settings.commit_ms) == (300, 1200)
        await stream.send(speech(3.0))
        settings = await stream.configure(chunk_ms=100, commit_ms=600)
        assert (settings.chunk_ms, settings.commit_ms) == (100, 600)
        await stream.send(speech(3.0))
        with pytest.raises(ServerError) as caught:
            await stream.configure(chunk_ms=300, commit_ms=100)
        assert caught.value.code == "unsupported_setting"


async def test_silence_sent_at_once_neither_stalls_nor_speaks(server: RunningServer) -> None:
    async with connect(server.url, max_backlog_s=2.0) as stream:
        await asyncio.wait_for(stream.send(np.zeros(16_000 * 30, np.int16)), 60)
        assert stream.backlog_s < 5.0
        done = await stream.close()
    assert done.totals.words == 0
    assert done.totals.audio_s == 30.0


async def test_a_session_too_many_is_refused_with_its_code(server: RunningServer) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(SLOTS):
            await stack.enter_async_context(connect(server.url))
        with pytest.raises(ServerError, match="slots") as caught:
            await stack.enter_async_context(connect(server.url))
        assert caught.value.code == "capacity"
    wait_for_slots(server, 0, within_s=10)
    async with connect(server.url) as stream:
        assert stream.ready.model == "base"


async def test_an_idle_session_ends_unless_it_is_held_open(server: RunningServer) -> None:
    async with connect(server.url, keepalive=True) as held, connect(server.url) as forgotten:
        with pytest.raises(ServerError) as caught:
            await asyncio.wait_for(anext(forgotten), 10)
        assert caught.value.code == "idle_timeout"
        await asyncio.sleep(1.0)
        await held.send(speech(3.0))
        assert (await held.close()).totals.words > 0


async def test_a_language_that_there_is_not_is_refused(server: RunningServer) -> None:
    with pytest.raises(ServerError) as caught:
        async with connect(server.url, language="tlh"):
            pass
    assert caught.value.code == "unsupported_setting"


async def test_a_server_that_stops_says_so() -> None:
    running = running_server(ServerSettings(), engine=real_engine())
    stopping = running.__enter__()
    async with connect(stopping.url) as stream:
        await stream.send(speech(3.0))
        stopped = asyncio.create_task(asyncio.to_thread(running.__exit__, None, None, None))
        events: list[ServerMessage] = []
        with pytest.raises(ServerError) as caught:
            await collect(stream, events)
        assert caught.value.code == "shutting_down"
        assert "printing" in text_of(events).lower(), "the words of the audio before the end still come"
    await stopped


async def collect(stream: AsyncIterator[ServerMessage], events: list[ServerMessage]) -> None:
    async for event in stream:
        events.append(event)


def test_the_synchronous_stream_hears_the_same(server: RunningServer) -> None:
    async def heard_async() -> str:
        async with connect(server.url) as stream:
            return text_of([event async for event in stream.feed([speech(4.0)])])

    with sync.connect(server.url) as stream:
        events = list(stream.feed(np.array_split(speech(4.0), 40)))
    with pytest.raises(StreamClosed, match="block is over"):
        stream.send(b"")
    assert text_of(events) == asyncio.run(heard_async())
    with sync.connect(server.url) as stream:
        stream.send(speech(4.0))
        stream.flush()
        polled = stream.poll()
        assert text_of(polled).strip()
        assert stream.close().totals.words == len(
            [
                word
                for event in [*polled, *stream]
                if isinstance(event, TranscriptMessage)
                for word in event.words
            ]
        )


def test_a_bare_install_streams(server: RunningServer) -> None:
    code = f"""
from voicewire.client import sync
from voicewire.client.audio_files import open_audio
with open_audio({str(CLIP)!r}) as audio, sync.connect({server.url!r}, sample_rate=audio.sample_rate) as stream:
    print("".join(event.text for event in stream.feed(audio.blocks()) if event.type == "transcript"))
"""
    result = run_bare(code)
    assert result.returncode == 0, result.stderr
    assert "printing" in result.stdout.lower()


def test_the_documentation_has_its_examples() -> None:
    assert [kind for kind, _ in EXAMPLES].count("python") >= 5


@pytest.mark.parametrize(("kind", "code"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_the_documentation_runs(
    kind: str, code: str, server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "recordings").mkdir()
    for name in ("talk.wav", "recordings/one.wav", "recordings/two.flac"):
        soundfile.write(tmp_path / name, speech(5.0), 16_000)
    address = f"{server.host}:{server.port}"
    command = [sys.executable, "-c"] if kind == "python" else ["bash", "-euc"]
    result = subprocess.run(
        [*command, code.replace(ADDRESS, address)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VOICEWIRE_URL": f"ws://{address}",
        },
    )
    assert result.returncode == 0, result.stdout + result.stderr
    if "tlh" in code:
        assert "unsupported_setting" in result.stdout
    else:
        assert "printing" in result.stdout.lower()
    if kind == "bash":
        assert "WEBVTT" in (tmp_path / "captions.vtt").read_text()
        written = {path.name for path in (tmp_path / "subtitles").iterdir()}
        assert written == {"one.srt", "one.json", "two.srt", "two.json"}
