"""Sessions that outlive their server: one process leaves them behind, the next goes on, and no word is lost."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.served import free_port
from tests.serving import get, pieces, real_engine, speech
from voicewire.client import connect
from voicewire.streaming.errors import HandoverError
from voicewire.streaming.handover import Handover, Parcel, packed, unpacked
from voicewire.streaming.messages import Done, Resumed, Start, TranscriptMessage
from voicewire.streaming.saved_session import SavedNarrator, SavedOutbox, SavedSession
from voicewire.streaming.server import running_server
from voicewire.streaming.settings import ServerSettings

CODE = (
    "from voicewire.streaming.server import serve\n"
    "from voicewire.streaming.settings import ServerSettings\n"
    "serve(ServerSettings.load(None, threads=1, max_sessions=4, codecs=['none']))"
)


def start(port: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = {
        "VOICEWIRE_PORT": str(port),
        "VOICEWIRE_HANDOVER": str(folder),
        "VOICEWIRE_RESUME_S": "120",
    }
    return subprocess.Popen(
        [sys.executable, "-c", CODE], stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )


def wait_ready(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if get(f"http://127.0.0.1:{port}/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server is not ready")


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def spoken(
    url: str, seconds: float, delay_s: float, pace: float, **options: Any
) -> tuple[list[str], int, Done]:
    """Words with their times of a client at a pace of speech, and how often it had to come back."""
    await asyncio.sleep(delay_s)
    words: list[str] = []
    resumed = 0

    async def source() -> AsyncIterator[bytes]:
        began = time.monotonic()
        parts = pieces(speech(seconds, rate=options.get("sample_rate", 16_000)).tobytes(), 3200)
        for number, piece in enumerate(parts):
            await asyncio.sleep(max(0.0, began + seconds * number / len(parts) / pace - time.monotonic()))
            yield piece

    async with connect(url, **options) as stream:
        async for event in stream.feed(source()):
            if isinstance(event, TranscriptMessage):
                words += [f"{word.word} {word.start} {word.end}" for word in event.words]
            resumed += isinstance(event, Resumed)
    assert isinstance(event, Done)
    return words, resumed, event


@pytest.mark.slow
async def test_a_server_that_is_restarted_under_load_loses_no_word(tmp_path: Path) -> None:
    port = free_port()
    url = f"ws://127.0.0.1:{port}/v1/stream"
    lengths = [6.0, 7.0, 5.0]

    async def all_of_them(pace: float) -> list[tuple[list[str], int, Done]]:
        return await asyncio.gather(
            *(spoken(url, seconds, 0.4 * at, pace) for at, seconds in enumerate(lengths))
        )

    first = start(port, tmp_path)
    with ended(first):
        await asyncio.to_thread(wait_ready, port)
        expected = await all_of_them(5.0)
        load = asyncio.create_task(all_of_them(1.0))
        await asyncio.sleep(2.5)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 20) == 0
    assert len(list(tmp_path.glob("*.session"))) == len(lengths)
    second = start(port, tmp_path)
    with ended(second):
        heard = await load
        assert list(tmp_path.glob("*.session")) == []
    for (words, resumed, done), (words_before, _, done_before) in zip(heard, expected, strict=True):
        assert words == words_before
        assert done == done_before
        assert resumed == 1


async def test_telephone_audio_goes_on_too(tmp_path: Path) -> None:
    settings = ServerSettings(handover=tmp_path, shutdown_s=2)
    port = free_port()
    with running_server(settings, engine=real_engine(), port=port) as server:
        load = asyncio.create_task(spoken(server.url, 5.0, 0.0, 2.0, sample_rate=8000))
        await asyncio.sleep(1.2)
        assert not load.done()
        url = server.url
    with running_server(settings, engine=real_engine(), port=port):
        words, resumed, done = await load
        assert resumed == 1
        assert done.totals.audio_s == 5.0
        undisturbed, _, _ = await spoken(url, 5.0, 0.0, 5.0, sample_rate=8000)
    assert [word.split()[0] for word in words] == [word.split()[0] for word in undisturbed]


# ---- files


def parcel(session_id: str = "a1") -> Parcel:
    session = SavedSession(
        session_id=session_id,
        token="secret",
        key=None,
        age_s=1.0,
        start=Start(encoding="pcm_s16le", sample_rate=16_000, resume=True),
        stream={"chunk_ms": 300},
        flushes=0,
        received=3,
        received_samples=100,
        pushed_samples=100,
        processed_samples=0,
        rung=0,
        outbox=SavedOutbox(seq=0, taken=0, waiting=[], kept=[], again=[]),
        narrator=SavedNarrator(
            words=0, utterances=0, in_utterance=False, utterance=0, told_s=0, flushes=[("1", 7), ("2", None)]
        ),
    )
    return Parcel(session, b"\x00snapshot\xff")


def test_a_parcel_comes_out_as_it_went_in_and_once(tmp_path: Path) -> None:
    one = Handover(tmp_path / "left", good_for_s=30)
    one.put(parcel("a1"))
    one.put(parcel("b2"))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "left").iterdir()} == {0o600}
    assert (tmp_path / "left").stat().st_mode & 0o777 == 0o700
    another = Handover(tmp_path / "left", good_for_s=30)
    assert list(another.take()) == [parcel("a1"), parcel("b2")]
    assert list(another.take()) == []


def test_what_is_damaged_forged_old_or_unfinished_is_not_taken(tmp_path: Path) -> None:
    folder = Handover(tmp_path, good_for_s=30)
    key = (tmp_path / "handover.key").read_bytes()
    whole = packed(parcel(), key)
    assert unpacked(whole, key) == parcel()
    for at in range(0, len(whole), 7):
        with pytest.raises(HandoverError):
            unpacked(whole[:at], key)
        with pytest.raises(HandoverError):
            unpacked(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], key)
    with pytest.raises(HandoverError, match="not written by this server"):
        unpacked(packed(parcel(), bytes(32)), key)
    (tmp_path / "forged.session").write_bytes(packed(parcel(), bytes(32)))
    (tmp_path / "unfinished.part").write_bytes(whole)
    folder.put(parcel("old"))
    os.utime(tmp_path / "old.session", (0, time.time() - 31))
    assert list(folder.take()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["handover.key"]
