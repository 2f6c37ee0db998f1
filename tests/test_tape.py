"""Sessions on record: a real server's recordings play again to the same words; damage is known as such."""

import asyncio
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.serving import pieces, real_engine, receive, session, speech, transcribe
from voicewire.client import connect
from voicewire.client.main import app
from voicewire.streaming.errors import TapeError
from voicewire.streaming.key_file import Key, hashed, new_key, write_keys
from voicewire.streaming.messages import TranscriptMessage
from voicewire.streaming.replay import recorded_settings, replay
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.tape import Kind, read_tape


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[RunningServer]:
    settings = ServerSettings(record=tmp_path / "sessions", overload_s=0)
    with running_server(settings, engine=real_engine()) as server:
        yield server


def the_tape(folder: Path) -> Path:
    """The only one, when it is over: a client may have heard the end before its tape has."""
    [path] = folder.glob("*.jsonl")
    until = time.monotonic() + 5
    while not {b'"ended"', b'"full"'} & set(path.read_bytes()[-120:].replace(b":", b" ").split()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return path


def replayed(path: Path):  # type: ignore[no-untyped-def]
    head, lines = read_tape(path)
    return replay(real_engine(), recorded_settings(head), lines)


async def lossy(url: str) -> list[str]:
    """A session whose connection breaks twice, with settings that change and a flush in between."""
    words: list[str] = []
    async with connect(url) as stream:

        async def source():  # type: ignore[no-untyped-def]
            for number, piece in enumerate(pieces(speech(8.0).tobytes(), 6400)):
                if number in (10, 25):
                    stream._link._socket.transport.abort()
                if number == 15:
                    await stream.configure(chunk_ms=200, commit_ms=800)
                if number == 20:
                    await stream.flush()
                yield piece
                await asyncio.sleep(0.03)

        async for event in stream.feed(source()):
            if isinstance(event, TranscriptMessage):
                words += [word.word for word in event.words]
    return words


async def test_a_session_with_broken_connections_plays_again_to_the_same_words(
    recorder: RunningServer, tmp_path: Path
) -> None:
    words = await lossy(recorder.url)
    path = the_tape(tmp_path / "sessions")
    outcome = await asyncio.to_thread(replayed, path)
    assert outcome.whole
    assert outcome.difference is None
    assert [item[2] for item in outcome.recorded if item[0] == "word"] == words
    assert {"speech_started", "flushed", "done"} <= {item[0] for item in outcome.recorded}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert '"token"' not in text
    assert '"resume": null' in text


async def test_a_key_stands_on_no_tape(tmp_path: Path) -> None:
    key = new_key()
    write_keys(tmp_path / "keys.toml", {"newsroom": Key(sha256=hashed(key))})
    settings = ServerSettings(record=tmp_path, api_keys=tmp_path / "keys.toml")
    with running_server(settings, engine=real_engine()) as server:
        async with connect(server.url, api_key=key) as stream:
            await stream.send(speech(1.0).tobytes())
    assert key not in the_tape(tmp_path).read_text()


def test_who_leaves_in_mid_word_is_compared_as_far_as_the_recording_goes(
    recorder: RunningServer, tmp_path: Path
) -> None:
    with session(recorder) as websocket:
        websocket.send(speech(4.0).tobytes())
        while not receive(websocket).get("words"):
            pass
    path = the_tape(tmp_path / "sessions")
    outcome = replayed(path)
    assert not outcome.whole
    assert outcome.words > 0
    assert outcome.difference is None
    assert len(outcome.replayed) > len(outcome.recorded)


def test_the_command_says_whether_words_are_the_same(recorder: RunningServer, tmp_path: Path) -> None:
    transcribe(recorder, speech(2.0).tobytes(), interim=False)
    path = the_tape(tmp_path / "sessions")
    same = CliRunner().invoke(app, ["replay", str(path)])
    assert same.exit_code == 0, same.output
    assert "identical" in same.output
    head, lines = read_tape(path)
    outcome = replay(real_engine(), recorded_settings(head), lines[: len(lines) // 2] + lines[-1:])
    assert outcome.difference is not None


def test_what_is_damaged_or_cut_off_is_named(recorder: RunningServer, tmp_path: Path) -> None:
    transcribe(recorder, speech(2.0).tobytes())
    whole = the_tape(tmp_path / "sessions").read_bytes()
    path = tmp_path / "tape.jsonl"
    lines = whole.splitlines(keepends=True)

    def refused(data: bytes, *, partial: bool = False) -> str:
        path.write_bytes(data)
        with pytest.raises(TapeError) as refusal:
            read_tape(path, partial=partial)
        return str(refusal.value)

    audio = next(number for number, line in enumerate(lines) if b'"data"' in line)
    damaged = [*lines[:audio], lines[audio].replace(b"A", b"B", 1), *lines[audio + 1 :]]
    assert f"line {audio + 1} is damaged: its checksum" in refused(b"".join(damaged))
    assert f"line {len(lines)} is damaged: it is cut off" in refused(whole[:-9])
    assert "cut off behind line 4" in refused(b"".join(lines[:4]))
    assert "no recording" in refused(b"")
    assert "no recording" in refused(b"".join(lines[1:]))
    assert "line 1 is damaged" in refused(b"\x00\xff\x00")
    assert "line 1 is damaged" in refused(b"not JSON at all\n")
    assert "line 1 is damaged" in refused(b"[]\n")
    path.write_bytes(whole[:-9])
    assert len(read_tape(path, partial=True)[1]) == len(lines) - 2
    assert "cannot be read" in CliRunner().invoke(app, ["replay", str(tmp_path / "nothing")]).stderr


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for setting in ("record", "handover"):
        answer = CliRunner().invoke(
            app, ["serve", "--port", "0", f"--{setting}", str(tmp_path / "file" / "x")]
        )
        assert answer.exit_code == 1
        assert f"{tmp_path / 'file' / 'x'}: Not a directory" in answer.stderr.replace("\n", " ")


def test_a_full_tape_says_so_and_the_session_goes_on(tmp_path: Path) -> None:
    settings = ServerSettings(record=tmp_path, record_session_bytes=100_000, overload_s=0)
    with running_server(settings, engine=real_engine()) as server:
        messages = transcribe(server, speech(4.0).tobytes())
    assert messages[-1]["type"] == "done"
    path = the_tape(tmp_path)
    assert path.stat().st_size <= 100_000
    assert read_tape(path)[1][-1].kind is Kind.FULL
    outcome = replayed(path)
    assert outcome.difference is None


def test_all_tapes_together_are_bounded(tmp_path: Path) -> None:
    settings = ServerSettings(record=tmp_path, record_total_bytes=100_000, overload_s=0)
    with running_server(settings, engine=real_engine()) as server:
        for _ in range(3):
            transcribe(server, speech(2.0).tobytes(), interim=False)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.jsonl")]
    assert len(sizes) == 2
    assert sum(sizes) <= 101_000
    assert all(json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.open())
