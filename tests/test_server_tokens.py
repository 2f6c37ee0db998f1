"""Codec tokens over real sockets, with the real recogniser and client, Lyra and a codec of words: out and in."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.word_errors import count_errors
from tests import codecs_at_hand
from tests.serving import speech
from voicewire.client import ServerError, TokensEvent, connect, sync, token_records
from voicewire.codecs import Codec, Hello, RecordWriter, TokenFile, Tokens, TokenWriter
from voicewire.streaming.engine import Engine
from voicewire.streaming.messages import TranscriptMessage, WordItem
from voicewire.streaming.recogniser import loader
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

# One worker: the model is loaded once per process.
pytestmark = [pytest.mark.xdist_group("served"), pytest.mark.usefixtures("no_slot_is_lost")]

SETTINGS = ServerSettings(max_sessions=8, threads=1)
RATE, FRAME = 16_000, 320
DOCS = Path(__file__).resolve().parent.parent / "docs" / "client.md"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return codecs_at_hand.codec("lyra_v2")


@pytest.fixture(scope="module")
def of_words() -> Codec:
    return codecs_at_hand.codec("whisper_semantic")


@pytest.fixture(scope="module")
def server(codec: Codec, of_words: Codec) -> Iterator[RunningServer]:
    loaded = {codec.name: codec, of_words.name: of_words}
    engine = Engine(loader(SETTINGS), SETTINGS.max_sessions, lambda: loaded)
    engine.start()
    try:
        with running_server(SETTINGS, engine=engine) as server:
            yield server
    finally:
        engine.stop()


class Heard:
    """What came of one session."""

    def __init__(self) -> None:
        self.tokens: list[Tokens] = []
        self.words: list[WordItem] = []
        self.text = ""
        self.kinds: list[str] = []

    async def listen(self, events: AsyncIterator[object]) -> "Heard":
        async for event in events:
            self.kinds.append(event.type)  # type: ignore[attr-defined]
            if isinstance(event, TokensEvent):
                self.tokens.append(event.tokens)
            elif isinstance(event, TranscriptMessage):
                self.words += event.words
                self.text += event.text
        return self

    @property
    def codes(self) -> np.ndarray:
        return np.concatenate([tokens.codes for tokens in self.tokens])


def floats(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / 32_768


def pieces(samples: np.ndarray, size: int = 1600) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


async def hear(server: RunningServer, samples: np.ndarray, **start: object) -> Heard:
    async with connect(server.url, **start) as stream:  # type: ignore[arg-type]
        return await Heard().listen(stream.feed(pieces(samples)))


# ---- out


async def test_words_and_tokens_of_one_session_lie_on_one_clock(server: RunningServer, codec: Codec) -> None:
    silence = np.zeros(RATE * 3 // 2, np.int16)
    samples = np.concatenate([silence, speech(8.0), silence[:777]])
    heard = await hear(server, samples, outputs=["words", "tokens"], bitrate_kbps=9.2)
    assert heard.kinds[-1] == "done"
    assert np.array_equal(heard.codes, codec.encode(floats(samples)).codes)
    assert [tokens.first_frame for tokens in heard.tokens][1:] == [
        tokens.first_frame + tokens.frames for tokens in heard.tokens[:-1]
    ]
    sound = np.concatenate([codec.decode(tokens) for tokens in [joined(heard.tokens)]])
    assert len(sound) == len(samples)
    assert abs(lag(sound, floats(samples))) < FRAME
    # The words lie where the decoded tokens are loud, and begin where they begin to be.
    begins = heard.words[0].start
    assert begins > 1.5
    assert loudness(sound[: round((begins - 0.1) * RATE)]) < 0.1 * loudness(sound)
    for word in heard.words:
        assert loudness(sound[round(word.start * RATE) : round(word.end * RATE)]) > 0.1 * loudness(sound)


async def test_words_are_the_same_whether_tokens_are_made_or_not(server: RunningServer) -> None:
    alone = await hear(server, speech(6.0))
    beside = await hear(server, speech(6.0), outputs=["words", "tokens"])
    assert [(word.word, word.start) for word in alone.words] == [
        (word.word, word.start) for word in beside.words
    ]
    assert "tokens" not in alone.kinds


async def test_tokens_alone_come_while_audio_is_sent_and_a_flush_leaves_no_seam(
    server: RunningServer, codec: Codec
) -> None:
    samples = speech(4.0)[: 4 * RATE - 100]
    async with connect(server.url, outputs=["tokens"], bitrate_kbps=3.2, chunk_ms=100) as stream:
        await stream.send(samples[:20_000])
        flushed = await stream.flush()
        assert flushed.audio_processed == 1.25
        early = [event for event in await stream.poll() if isinstance(event, TokensEvent)]
        assert early[-1].end_s == 62 * 0.02
        await stream.send(samples[20_000:])
        done = await stream.close()
        heard = await Heard().listen(stream)
    assert "transcript" not in heard.kinds
    assert (done.totals.audio_s, done.totals.words) == (pytest.approx(len(samples) / RATE, abs=1e-3), 0)
    codes = np.concatenate([*(event.tokens.codes for event in early), heard.codes])
    assert np.array_equal(codes, codec.encode(floats(samples), 16).codes)


async def test_the_bitrate_changes_in_mid_stream(server: RunningServer, codec: Codec) -> None:
    samples = speech(4.0)
    async with connect(server.url, outputs=["tokens"], bitrate_kbps=3.2) as stream:
        assert stream.settings.bitrate_kbps == 3.2
        await stream.send(samples[: 2 * RATE])
        settings = await stream.configure(bitrate_kbps=9.2)
        assert settings.bitrate_kbps == 9.2
        await stream.send(samples[2 * RATE :])
        await stream.close()
        heard = await Heard().listen(stream)
    whole = codec.encode(floats(samples))
    coarse = [tokens.codes for tokens in heard.tokens if tokens.codebooks == 16]
    fine = [tokens.codes for tokens in heard.tokens if tokens.codebooks == 46]
    assert np.array_equal(np.concatenate(coarse), whole.codes[:100, :16])
    assert np.array_equal(np.concatenate(fine), whole.codes[100:])


async def test_sessions_at_once_get_the_tokens_of_each_alone(server: RunningServer, codec: Codec) -> None:
    audio = [np.roll(speech(5.0), 7000 * number)[: RATE * 3 + 500 * number] for number in range(8)]
    rates = {3.2: 16, 6.0: 30, 9.2: 46}
    wanted = [list(rates)[number % 3] for number in range(8)]
    heard = await asyncio.gather(
        *(
            hear(
                server, samples, outputs=["tokens"] if number % 2 else ["words", "tokens"], bitrate_kbps=kbps
            )
            for number, (samples, kbps) in enumerate(zip(audio, wanted, strict=True))
        )
    )
    for one, samples, kbps in zip(heard, audio, wanted, strict=True):
        assert np.array_equal(one.codes, codec.encode(floats(samples), rates[kbps]).codes)


async def test_tokens_of_words_are_those_of_the_codec_alone(server: RunningServer, of_words: Codec) -> None:
    samples = speech(6.0)
    heard = await hear(
        server, samples, outputs=["words", "tokens"], codec="whisper_semantic", bitrate_kbps=0.5
    )
    assert "printing" in heard.text.lower()
    assert np.array_equal(heard.codes, of_words.encode(floats(samples), 2).codes)


# ---- in


def assert_nearly_the_same(heard: Heard, plain: Heard, errors: float, words: int) -> None:
    """At most such a share of more than so many words differs, and they stand at the same times."""
    counted = count_errors(plain.text, heard.text)
    assert counted.words > words
    assert counted.rate is not None
    assert counted.rate <= errors, heard.text
    starts = {word.word.lower(): word.start for word in plain.words}
    apart = [
        abs(word.start - starts[word.word.lower()]) for word in heard.words if word.word.lower() in starts
    ]
    assert np.median(apart) < 0.1


async def test_speech_sent_as_tokens_gives_nearly_the_words_of_the_same_audio(
    server: RunningServer, codec: Codec, tmp_path: Path
) -> None:
    samples = speech(12.0)
    plain = await hear(server, samples)
    path = written(codec, samples, tmp_path / "talk.vwt")
    async with connect(server.url, encoding="tokens") as stream:
        heard = await Heard().listen(stream.feed(token_records(path, piece_s=0.1)))
        done = await stream.close()
    assert done.totals.audio_s == 12.0
    assert_nearly_the_same(heard, plain, errors=0.2, words=20)


async def test_tokens_of_words_are_captioned_without_their_sound(
    server: RunningServer, of_words: Codec, tmp_path: Path
) -> None:
    """With things asked before the first one."""
    samples = speech(18.0)[: 18 * RATE - 77]
    plain = await hear(server, samples)
    path = written(of_words, samples, tmp_path / "talk.vwt", codebooks=4)
    async with connect(server.url, encoding="tokens") as stream:
        await stream.configure(chunk_ms=200)
        assert (await stream.flush()).audio_processed == 0
        heard = await Heard().listen(stream.feed(token_records(path, piece_s=0.7)))
        done = await stream.close()
    assert done.totals.audio_s == pytest.approx(len(samples) / RATE, abs=1e-3)
    assert_nearly_the_same(heard, plain, errors=0.25, words=30)


async def test_tokens_of_words_can_become_neither_sound_nor_other_tokens(
    server: RunningServer, of_words: Codec
) -> None:
    tokens = of_words.encode(floats(speech(3.0)))
    records = RecordWriter(Hello.of(of_words))
    whole = [records.begin(), *records.write(tokens)]
    assert await refused(server, whole, outputs=["words", "tokens"]) == "unsupported_setting"
    late = RecordWriter(Hello.of(of_words))
    late_records = [late.begin(), *late.write(replace(tokens, first_frame=7))]
    assert await refused(server, late_records) == "bad_tokens"
    assert await refused(server, whole) == "done"


async def test_tokens_become_tokens_of_another_bitrate(
    server: RunningServer, codec: Codec, tmp_path: Path
) -> None:
    samples = speech(3.0)
    path = written(codec, samples, tmp_path / "talk.vwt", codebooks=46)
    async with connect(server.url, encoding="tokens", outputs=["tokens"], bitrate_kbps=3.2) as stream:
        heard = await Heard().listen(stream.feed(token_records(path)))
    again = codec.encode(codec.decode(codec.encode(floats(samples))), 16)
    assert np.array_equal(heard.codes, again.codes)


async def test_malformed_tokens_end_their_own_session_alone(server: RunningServer, codec: Codec) -> None:
    hello = Hello.of(codec)
    good = RecordWriter(hello).write(codec.encode(floats(speech(1.0))))[0]
    damaged = [
        [good],
        [hello.to_bytes(), good, good],
        [hello.to_bytes(), good[:-1]],
        [hello.to_bytes(), b"\x02\x00" + bytes(30)],
        [b"RIFF" + bytes(400)],
        [hello.to_bytes()[:-1] + b"7"],
    ]
    samples = speech(5.0)
    bystander = asyncio.create_task(hear(server, samples, outputs=["words", "tokens"]))
    codes = [await refused(server, records) for records in damaged]
    assert codes == ["bad_tokens"] * 5 + ["codec_unavailable"]
    heard = await bystander
    assert heard.kinds[-1] == "done"
    assert "printing" in heard.text.lower()
    assert np.array_equal(heard.codes, codec.encode(floats(samples)).codes)


async def refused(server: RunningServer, records: list[bytes], **start: object) -> str:
    """The code of the error with which the server ends a session of these messages."""
    try:
        async with connect(server.url, encoding="tokens", **start) as stream:  # type: ignore[arg-type]
            for record in records:
                await stream.send(record)
            await stream.close()
    except ServerError as error:
        return error.code
    return "done"


async def test_what_the_server_has_not_loaded_is_refused_by_name(server: RunningServer) -> None:
    with pytest.raises(ServerError, match="those loaded: lyra_v2, whisper_semantic") as error:
        async with connect(server.url, outputs=["tokens"], codec="encodec_24khz"):
            pass
    assert error.value.code == "codec_unavailable"


# ---- the client


def test_ordinary_code_keeps_tokens_in_a_file(server: RunningServer, codec: Codec, tmp_path: Path) -> None:
    samples, path = speech(3.0), tmp_path / "talk.vwt"
    with sync.connect(server.url, outputs=["tokens"], bitrate_kbps=6) as stream, path.open("wb") as file:
        writer = None
        for event in stream.feed(pieces(samples)):
            if isinstance(event, TokensEvent):
                if writer is None:
                    assert stream.hello is not None
                    writer = TokenWriter(stream.hello)
                    file.write(writer.begin())
                file.write(writer.write(event.tokens))
        assert writer is not None
        file.write(writer.end())
    with TokenFile(path) as kept:
        codes = np.concatenate([tokens.codes for tokens in kept.tokens()])
    assert np.array_equal(codes, codec.encode(floats(samples), 30).codes)


def test_a_file_of_tokens_is_captioned(server: RunningServer, codec: Codec, tmp_path: Path) -> None:
    path = written(codec, speech(5.0), tmp_path / "talk.vwt")
    command = [
        sys.executable,
        "-m",
        "voicewire.client",
        "caption",
        str(path),
        "--url",
        server.url,
        "--speed",
        "0",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "the art of making" in result.stdout.lower()
    assert "5.0 s of audio" in result.stderr
    path.write_bytes(path.read_bytes()[:-40])
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "no whole file of tokens" in result.stderr


EXAMPLES = re.findall(r"^```python tokens\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)


def test_the_document_s_examples_do_what_they_say(server: RunningServer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", speech(5.0), RATE)
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        code = example.replace("ws://127.0.0.1:8765", server.url)
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        assert "the art of making" in result.stdout.lower()


# ---- what the tests measure by


def joined(pieces: list[Tokens]) -> Tokens:
    codes = np.concatenate([piece.codes for piece in pieces])
    first = pieces[0]
    samples = sum(piece.samples for piece in pieces)
    return Tokens(
        first.codec, first.sample_rate, first.frame_rate, first.codebooks, first.bits, 0, samples, codes
    )


def written(codec: Codec, samples: np.ndarray, path: Path, codebooks: int = 16) -> Path:
    """A file of tokens."""
    writer = TokenWriter(Hello.of(codec))
    with path.open("wb") as file:
        file.write(writer.begin() + writer.write(codec.encode(floats(samples), codebooks)) + writer.end())
    return path


def lag(sound: np.ndarray, source: np.ndarray) -> int:
    """By how many samples the one runs behind the other, where they are most alike."""
    size = 1 << (2 * len(source)).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(source, size))
    place = int(np.argmax(np.fft.irfft(spectrum, size)))
    return place if place < size // 2 else place - size


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
