"""The codecs' thread: tokens of many sessions at once, words that do not wait for them, and faults.

The recogniser is one that says a word per second of audio; the codec is mu-law, whole and as it is.
"""

import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tests import codecs_at_hand
from tests.mu_law import Encoders, MuLaw
from tests.recognisers import ScriptedRecogniser
from tests.test_engine import Listener, seats_free
from voicewire.asr.resampler import resample
from voicewire.asr.settings import StreamSettings
from voicewire.codecs import Codec, CodecBatch, Tokens
from voicewire.streaming.commands import (
    ConfigureStream,
    Encoded,
    Failed,
    FlushStream,
    Opened,
    OpenStream,
    Part,
    Progress,
    PushAudio,
    PushTokens,
    TokenSettings,
)
from voicewire.streaming.engine import Engine
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.seat import Seat

MAKE = TokenSettings("mu_law", 320, 100)
END = FlushStream("close", ends=True)
SECOND = np.zeros(16_000, np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, round(16_000 * seconds)).astype(np.float32)


class TouchyMuLaw(MuLaw):
    """Can be made to fail, or to hang."""

    def __init__(self) -> None:
        self.breaks = False
        self.gate = threading.Event()
        self.gate.set()

    def encoders(self, slots: int) -> CodecBatch[np.ndarray, Tokens]:
        return TouchyEncoders(self, slots)


class TouchyEncoders(Encoders):
    def push(self, pieces: Mapping[int, np.ndarray]) -> dict[int, Tokens]:
        assert isinstance(self._codec, TouchyMuLaw)
        self._codec.gate.wait()
        if self._codec.breaks:
            self._codec.breaks = False
            raise RuntimeError("told to break")
        return super().push(pieces)


@dataclass
class TokenListener(Listener):
    """Takes the reports of one seat, tokens among them."""

    wanted: OpenStream = field(default_factory=lambda: OpenStream(StreamSettings(), MAKE))

    def begin(self, engine: Engine, wanted: OpenStream | None = None) -> "TokenListener":
        self.seat = engine.reserve(self)
        self.send(wanted or self.wanted)
        return self

    def send(self, *commands: object) -> None:
        assert isinstance(self.seat, Seat)
        for command in commands:
            self.seat.send(command)  # type: ignore[arg-type]

    @property
    def encoded(self) -> list[Encoded]:
        return [report for report in self.reports if isinstance(report, Encoded)]

    def codes(self) -> np.ndarray:
        return np.concatenate([tokens.codes for report in self.encoded for tokens in report.tokens])

    def made(self, tag: str) -> bool:
        return any(tag in report.flushed for report in self.encoded)


@pytest.fixture
def codec() -> TouchyMuLaw:
    return TouchyMuLaw()


@pytest.fixture
def recogniser() -> ScriptedRecogniser:
    return ScriptedRecogniser(capacity=8)


@pytest.fixture
async def engine(recogniser: ScriptedRecogniser, codec: TouchyMuLaw) -> AsyncIterator[Engine]:
    codecs: dict[str, Codec] = {"mu_law": codec}
    engine = Engine(lambda: recogniser, 8, lambda: codecs)
    engine.start()
    engine.wait_ready(10)
    yield engine
    codec.gate.set()
    recogniser.gate.set()
    assert engine.stop()


async def test_tokens_of_many_sessions_are_those_of_each_alone(engine: Engine, codec: MuLaw) -> None:
    listeners = [TokenListener().begin(engine) for _ in range(8)]
    draw = np.random.default_rng(5)
    audio = [noise(2.0 + 0.3 * number, seed=number) for number in range(8)]
    rest = list(audio)
    while any(len(samples) for samples in rest):
        for number, listener in enumerate(listeners):
            size = int(draw.integers(0, 6000))
            listener.send(PushAudio(rest[number][:size]))
            rest[number] = rest[number][size:]
    for listener, samples in zip(listeners, audio, strict=True):
        listener.send(END)
        await listener.until(lambda: listener.made("close"))  # noqa: B023
        assert np.array_equal(listener.codes(), codec.encode(samples).codes)
        assert listener.encoded[-1].processed_samples == len(samples)
        assert sum(tokens.samples for report in listener.encoded for tokens in report.tokens) == len(samples)
        await listener.until(lambda: listener.flushed("close"))  # noqa: B023
        assert listener.text() == "".join(f" w{n}" for n in range(int(len(samples) / 16_000)))
        assert sum(isinstance(report, Opened) for report in listener.reports) == 2


async def test_tokens_come_by_the_tick(engine: Engine) -> None:
    listener = TokenListener().begin(engine)
    for samples in np.split(noise(1.0), 50):
        listener.send(PushAudio(samples))
    await listener.until(lambda: bool(listener.encoded) and listener.encoded[-1].processed_samples == 16_000)
    ends = [report.processed_samples for report in listener.encoded]
    assert all(after - before >= 1600 for before, after in zip([0, *ends], ends, strict=False))
    listener.send(PushAudio(noise(0.05)), FlushStream("1"))
    await listener.until(lambda: listener.made("1"))
    assert listener.encoded[-1].processed_samples == 16_800


async def test_a_flush_leaves_no_seam_and_a_new_bitrate_begins_where_it_was_asked_for(
    engine: Engine, codec: MuLaw
) -> None:
    listener, samples = TokenListener().begin(engine), noise(1.0)
    half = replace(MAKE, codebooks=160)
    listener.send(PushAudio(samples[:5000]), FlushStream("1"), PushAudio(samples[5000:8000]))
    listener.send(ConfigureStream(StreamSettings(), half), PushAudio(samples[8000:]), END)
    await listener.until(lambda: listener.made("close"))
    pieces = [tokens for report in listener.encoded for tokens in report.tokens]
    assert sum(tokens.frames for tokens in pieces if tokens.first_frame < 25) == 25
    full, coarse = codec.encode(samples), codec.encode(samples, 160)
    early = [tokens.codes for tokens in pieces if tokens.codebooks == 320]
    late = [tokens.codes for tokens in pieces if tokens.codebooks == 160]
    assert np.array_equal(np.concatenate(early), full.codes[:25])
    assert np.array_equal(np.concatenate(late), coarse.codes[25:])


async def test_tokens_in_become_words_and_other_tokens(engine: Engine, codec: MuLaw) -> None:
    listener = TokenListener().begin(engine, OpenStream(StreamSettings(), MAKE, takes_tokens=True))
    tokens = codec.encode(noise(3.01))
    for start in range(0, tokens.frames, 7):
        codes = tokens.codes[start : start + 7]
        samples = min(len(codes) * 320, tokens.samples - 320 * start)
        piece = replace(tokens, first_frame=40 + start, samples=samples, codes=codes)
        listener.send(PushTokens(piece))
    listener.send(FlushStream("1"), END)
    await listener.until(lambda: listener.made("close") and listener.flushed("close"))
    assert listener.flushed("1")
    assert listener.text() == " w0 w1 w2"
    assert np.array_equal(listener.codes(), codec.encode(codec.decode(tokens)).codes)


async def test_a_codec_of_another_rate_follows_the_same_clock() -> None:
    codec = codecs_at_hand.codec("encodec_24khz")
    engine = Engine(ScriptedRecogniser, 2, lambda: {codec.name: codec})
    engine.start()
    engine.wait_ready(60)
    samples, make = noise(2.01), replace(MAKE, codec=codec.name, codebooks=codec.codebooks)
    listener = TokenListener().begin(engine, OpenStream(None, make))
    for piece in np.split(samples, [3000, 9000, 9001, 20_000]):
        listener.send(PushAudio(piece))
    listener.send(END)
    await listener.until(lambda: listener.made("close"))
    whole = codec.encode(resample(samples, 16_000, 24_000))
    assert np.array_equal(listener.codes(), whole.codes)
    last = listener.encoded[-1].tokens[-1]
    assert last.start_s + last.duration_s == pytest.approx(2.01)
    assert listener.encoded[-1].processed_samples == len(samples)

    back = TokenListener().begin(engine, OpenStream(StreamSettings(), takes_tokens=True))
    back.send(PushTokens(whole), END)
    await back.until(lambda: back.flushed("close"))
    progress = [report for report in back.reports if isinstance(report, Progress)]
    assert progress[-1].processed_samples == len(samples)
    assert engine.stop()


async def test_for_tokens_alone_the_recogniser_does_not_run(
    engine: Engine, recogniser: ScriptedRecogniser
) -> None:
    steps = recogniser.steps
    listener = TokenListener().begin(engine, OpenStream(None, MAKE))
    listener.send(PushAudio(noise(1.0)), END)
    await listener.until(lambda: listener.made("close"))
    assert recogniser.steps == steps
    assert recogniser.free_slots == 8
    assert not any(report == Opened(Part.WORDS) for report in listener.reports)


async def test_words_do_not_wait_for_a_codec_nor_tokens_for_a_recogniser(
    engine: Engine, recogniser: ScriptedRecogniser, codec: TouchyMuLaw
) -> None:
    listener = TokenListener().begin(engine)
    codec.gate.clear()
    listener.send(PushAudio(SECOND))
    await listener.until(lambda: listener.text() == " w0")
    assert listener.encoded == []
    codec.gate.set()
    await listener.until(lambda: bool(listener.encoded))
    recogniser.gate.clear()
    listener.send(PushAudio(SECOND), FlushStream("1"))
    await listener.until(lambda: listener.made("1"))
    assert listener.text() == " w0"
    recogniser.gate.set()
    await listener.until(lambda: listener.flushed("1"))


async def test_tokens_that_cannot_be_end_their_session_alone(engine: Engine, codec: MuLaw) -> None:
    codec_in = OpenStream(None, MAKE, takes_tokens=True)
    wrong, right = TokenListener().begin(engine, codec_in), TokenListener().begin(engine, codec_in)
    tokens = codec.encode(noise(1.0))
    for listener in (wrong, right):
        listener.send(PushTokens(tokens))
    wrong.send(PushTokens(replace(tokens, first_frame=70)))
    right.send(PushTokens(replace(tokens, first_frame=50)), END)
    assert (await wrong.failure()).code is ErrorCode.BAD_TOKENS
    await right.until(lambda: right.made("close"))
    assert len(right.codes()) == 100
    wrong.seat.give_back()  # type: ignore[union-attr]
    right.seat.give_back()  # type: ignore[union-attr]
    await seats_free(engine)


async def test_a_codec_s_fault_ends_the_sessions_with_tokens_and_no_other(
    engine: Engine, codec: TouchyMuLaw
) -> None:
    losers = [TokenListener().begin(engine) for _ in range(2)]
    bystander = Listener().open(engine)
    for loser in losers:
        await loser.until(lambda: len(loser.reports) == 2)  # noqa: B023
    codec.breaks = True
    losers[0].send(PushAudio(SECOND))
    for loser in losers:
        await loser.until(lambda: any(isinstance(report, Failed) for report in loser.reports))  # noqa: B023
        loser.seat.give_back()  # type: ignore[union-attr]
    await seats_free(engine, 1)
    for _ in range(7):
        again = TokenListener().begin(engine)
        again.send(PushAudio(SECOND), END)
        await again.until(lambda: again.made("close"))  # noqa: B023
    bystander.seat.send(PushAudio(SECOND))  # type: ignore[union-attr]
    await bystander.until(lambda: bystander.text() == " w0")


async def test_slots_are_free_again_before_their_seats_are(engine: Engine) -> None:
    for _ in range(5):
        listeners = [TokenListener().begin(engine) for _ in range(8)]
        assert engine.reserve(Listener()) is None
        for listener in listeners:
            listener.send(PushAudio(SECOND))
            await listener.until(lambda: bool(listener.encoded))  # noqa: B023
            listener.seat.give_back()  # type: ignore[union-attr]
        await seats_free(engine)


async def test_sessions_with_tokens_end_with_the_engine(recogniser: ScriptedRecogniser) -> None:
    engine = Engine(lambda: recogniser, 2, lambda: {"mu_law": MuLaw()})
    engine.start()
    engine.wait_ready(10)
    listener = TokenListener().begin(engine, OpenStream(None, MAKE))
    await listener.until(lambda: listener.reports == [Opened(Part.TOKENS)])
    assert engine.stop()
    assert (await listener.failure()).code is ErrorCode.SHUTTING_DOWN
    assert not [thread for thread in threading.enumerate() if thread.name == "voicewire-codecs"]
