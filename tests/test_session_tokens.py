"""The session with tokens, sans I/O: what is asked of the engine, what is told in which order, what is refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tests.mu_law import MuLaw
from tests.test_session import Driver, word
from voicewire.asr.events import Endpoint, Event, Flushed, Transcript
from voicewire.asr.settings import SAMPLE_RATE, StreamSettings
from voicewire.codecs import Hello, RecordReader, RecordWriter, Tokens
from voicewire.streaming.commands import (
    CloseStream,
    ConfigureStream,
    Encoded,
    FlushStream,
    Opened,
    OpenStream,
    Part,
    Progress,
    PushAudio,
    PushTokens,
    TokenSettings,
)
from voicewire.streaming.messages import (
    Configured,
    Done,
    Error,
    ErrorCode,
    FlushedMessage,
    Ready,
    TranscriptMessage,
)
from voicewire.streaming.patience import SessionState
from voicewire.streaming.session import Session
from voicewire.streaming.settings import ServerSettings

CODEC = MuLaw()
# A second of mu-law weighs as much as 125 words.
SETTINGS = ServerSettings(outgoing_items=300)
START = {
    "type": "start",
    "encoding": "pcm_s16le",
    "sample_rate": 16_000,
    "outputs": ["words", "tokens"],
    "codec": "mu_law",
}
ALL = TokenSettings("mu_law", 320, 300)


@dataclass
class TokenDriver(Driver):
    """A session of a server that has one codec."""

    settings: ServerSettings = SETTINGS
    reader: RecordReader = field(default_factory=RecordReader)

    def __post_init__(self) -> None:
        self.session = Session(self.settings, "base", "a1", self.now, {"mu_law": CODEC})

    def encoded(
        self, *tokens: Tokens, processed_s: float = 0.0, flushed: tuple[str, ...] = ()
    ) -> "TokenDriver":
        self.report(Encoded(tokens, round(processed_s * SAMPLE_RATE), flushed))
        return self

    def recognised(self, *events: Event, processed_s: float = 0.0) -> "TokenDriver":
        self.report(Progress(events, round(processed_s * SAMPLE_RATE)))
        return self

    @property
    def records(self) -> list[bytes]:
        return [message for message in self.messages if isinstance(message, bytes)]


def running(settings: ServerSettings = SETTINGS, **start: object) -> TokenDriver:
    driver = TokenDriver(settings)
    driver.send({**START, **start})
    for part in Part:
        driver.report(Opened(part))
    assert driver.session.state is SessionState.RUNNING
    return driver


def tokens(frames: int, first_frame: int = 0, padding: int = 0, codebooks: int = 320) -> Tokens:
    codes = np.full((frames, codebooks), first_frame % 256)
    return Tokens("mu_law", 16_000, 50.0, codebooks, 8, first_frame, frames * 320 - padding, codes)


def sent(*pieces: Tokens, hello: Hello | None = None) -> list[bytes]:
    writer = RecordWriter(hello or Hello.of(CODEC))
    return [writer.begin(), *(record for piece in pieces for record in writer.write(piece)), writer.end()]


# ---- tokens out


def test_start_asks_for_tokens_and_ready_waits_for_every_part() -> None:
    driver = TokenDriver().send({**START, "chunk_ms": 100})
    assert driver.commands == [OpenStream(StreamSettings(100), TokenSettings("mu_law", 320, 100))]
    driver.report(Opened(Part.TOKENS))
    assert driver.messages == []
    driver.report(Opened(Part.WORDS))
    ready, hello = driver.messages
    assert isinstance(ready, Ready)
    assert (ready.settings.outputs, ready.settings.codec) == (["words", "tokens"], "mu_law")
    assert ready.settings.bitrate_kbps == 128
    assert hello == Hello.of(CODEC).to_bytes()


def test_for_tokens_alone_no_recogniser_is_asked() -> None:
    driver = TokenDriver().send({**START, "outputs": ["tokens"], "bitrate_kbps": 64})
    assert driver.commands == [OpenStream(None, TokenSettings("mu_law", 160, 300))]
    driver.report(Opened(Part.TOKENS)).send(bytes(32_000)).send({"type": "flush", "id": 7})
    assert isinstance(driver.messages[0], Ready)
    driver.encoded(tokens(50), processed_s=1.0, flushed=("1",))
    flushed = driver.last
    assert isinstance(flushed, FlushedMessage)
    assert (flushed.id, flushed.audio_processed) == (7, 1.0)
    driver.send({"type": "close"}).encoded(processed_s=1.0, flushed=("close",))
    assert isinstance(driver.last, Done)
    assert driver.last.totals.audio_s == 1.0
    assert not any(isinstance(message, TranscriptMessage) for message in driver.messages)


def test_without_tokens_nothing_is_asked_of_a_codec() -> None:
    driver = TokenDriver().send({"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000})
    assert driver.commands == [OpenStream(StreamSettings())]
    driver.report(Opened())
    assert isinstance(driver.last, Ready)
    assert (driver.last.settings.outputs, driver.last.settings.codec) == (["words"], None)
    assert driver.records == []


def test_records_come_between_hello_and_end_and_the_end_before_done() -> None:
    driver = running().send(bytes(32_000))
    driver.encoded(tokens(15), tokens(5, 15), processed_s=0.4)
    driver.recognised(Transcript((word(" one"),), (), 0, 0.5), processed_s=0.5)
    driver.send({"type": "close"})
    driver.encoded(tokens(30, 20, padding=7), processed_s=1.0, flushed=("close",))
    assert driver.session.state is SessionState.CLOSING
    driver.recognised(Flushed("close", 1.0), Endpoint(0, 0.0, 0.3, "one"), processed_s=1.0)
    assert isinstance(driver.last, Done)
    assert driver.messages[-2] == driver.records[-1]
    assert driver.commands[-2:] == [FlushStream("close", ends=True), CloseStream()]
    reader = RecordReader()
    taken = [reader.take(record) for record in driver.records]
    assert reader.ended
    assert [record.tokens.first_frame for record in taken if record] == [0, 15, 20]


@pytest.mark.parametrize("first", Part)
def test_a_flush_is_answered_when_words_and_tokens_are_there(first: Part) -> None:
    driver = running().send(bytes(32_000)).send({"type": "flush", "id": "x"})
    assert driver.commands[-1] == FlushStream("1")
    steps: dict[Part, Callable[[], object]] = {
        Part.WORDS: lambda: driver.recognised(Flushed("1", 1.0), processed_s=1.0),
        Part.TOKENS: lambda: driver.encoded(tokens(50), processed_s=1.0, flushed=("1",)),
    }
    steps.pop(first)()
    assert not any(isinstance(message, FlushedMessage) for message in driver.messages)
    [last] = steps.values()
    last()
    assert isinstance(driver.last, FlushedMessage)
    assert driver.last.id == "x"


def test_the_slower_part_holds_the_client_back() -> None:
    driver = running(ServerSettings(buffered_s=2)).send(bytes(32_000 * 2))
    driver.recognised(processed_s=2.0)
    assert driver.session.buffered_s == 2.0
    assert not driver.session.accepts_input
    driver.encoded(tokens(50), processed_s=1.0)
    assert driver.session.buffered_s == 1.0
    assert driver.session.accepts_input


def test_the_bitrate_changes_behind_the_audio_before_it() -> None:
    driver = running().send(bytes(9600)).send({"type": "configure", "bitrate_kbps": 64, "chunk_ms": 200})
    changed = TokenSettings("mu_law", 160, 200)
    assert driver.commands[-1] == ConfigureStream(StreamSettings(200), changed)
    assert isinstance(driver.last, Configured)
    assert driver.last.settings.bitrate_kbps == 64
    driver.encoded(tokens(15), tokens(5, 15, codebooks=160), processed_s=0.4)
    reader = RecordReader()
    taken = [record for data in driver.records if (record := reader.take(data))]
    assert [record.tokens.codebooks for record in taken] == [320, 160]


@pytest.mark.parametrize(
    ("start", "code", "says"),
    [
        ({"codec": "opus"}, ErrorCode.CODEC_UNAVAILABLE, "'opus' is not loaded here; those loaded: mu_law"),
        ({"bitrate_kbps": 3.2}, ErrorCode.UNSUPPORTED_SETTING, "bitrate_kbps: mu_law has no 3.2 kbps"),
        ({"outputs": []}, ErrorCode.BAD_MESSAGE, "start.outputs"),
        ({"outputs": ["music"]}, ErrorCode.BAD_MESSAGE, "start.outputs"),
    ],
    ids=str,
)
def test_what_no_codec_here_can_do_is_refused(start: dict[str, object], code: ErrorCode, says: str) -> None:
    driver = TokenDriver().send({**START, **start})
    assert driver.ended_with(code)
    assert isinstance(driver.last, Error)
    assert says in driver.last.message


def test_a_bitrate_without_tokens_is_refused() -> None:
    driver = TokenDriver().send({**START, "outputs": ["words"]}).report(Opened())
    driver.send({"type": "configure", "bitrate_kbps": 64})
    assert driver.ended_with(ErrorCode.UNSUPPORTED_SETTING)


def test_an_end_after_the_words_ends_the_tokens_too() -> None:
    driver = running().send(bytes(32_000)).wait(SETTINGS.idle_s)
    driver.encoded(tokens(50), processed_s=1.0, flushed=("close",))
    driver.recognised(Flushed("close", 1.0), processed_s=1.0)
    assert driver.ended_with(ErrorCode.IDLE_TIMEOUT)
    reader = RecordReader()
    for record in driver.records:
        reader.take(record)
    assert reader.ended


def test_a_client_that_reads_no_tokens_is_let_go() -> None:
    driver = running()
    for number in range(20):
        report = Encoded((tokens(15, 15 * number),), 4800 * (number + 1))
        driver.commands += driver.session.receive_report(report, driver.now)
    assert driver.session.ended_with is ErrorCode.SLOW_READER


# ---- tokens in


def test_tokens_are_handed_on_by_the_second_and_move_the_clock() -> None:
    driver = running(encoding="tokens", outputs=["words"])
    assert driver.commands == [OpenStream(StreamSettings(), takes_tokens=True)]
    for record in sent(tokens(20, 100), tokens(130, 120, padding=80)):
        driver.send(record)
    pushed = [command.tokens for command in driver.commands if isinstance(command, PushTokens)]
    assert [piece.frames for piece in pushed] == [20, 50, 50, 30]
    assert [piece.first_frame for piece in pushed] == [100, 120, 170, 220]
    assert driver.session.received_s == 150 / 50 - 80 / 16_000
    driver.send({"type": "flush"})
    assert driver.commands[-1] == FlushStream("1")
    assert not any(isinstance(command, PushAudio) for command in driver.commands)


HELLO, FIRST, SECOND, END = sent(tokens(2), tokens(2, 2))
OTHER_WEIGHTS = replace(Hello.of(CODEC), weights_sha256="0" * 64).to_bytes()
OTHER_CODEC = replace(Hello.of(CODEC), codec="opus").to_bytes()
OTHER_SHAPE = replace(Hello.of(CODEC), codebooks=7).to_bytes()


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([FIRST], ErrorCode.BAD_TOKENS),
        ([b""], ErrorCode.BAD_TOKENS),
        ([b"RIFF" + bytes(60)], ErrorCode.BAD_TOKENS),
        ([HELLO, HELLO], ErrorCode.BAD_TOKENS),
        ([HELLO, FIRST, FIRST], ErrorCode.BAD_TOKENS),
        ([HELLO, FIRST[:-1]], ErrorCode.BAD_TOKENS),
        ([HELLO, FIRST, END], ErrorCode.BAD_TOKENS),
        ([HELLO, FIRST, SECOND, END, FIRST], ErrorCode.BAD_TOKENS),
        ([HELLO, FIRST + SECOND], ErrorCode.BAD_TOKENS),
        ([OTHER_WEIGHTS], ErrorCode.CODEC_UNAVAILABLE),
        ([OTHER_CODEC], ErrorCode.CODEC_UNAVAILABLE),
        ([OTHER_SHAPE], ErrorCode.BAD_TOKENS),
        ([HELLO, *sent(tokens(700))[1:2]], ErrorCode.BUFFER_FULL),
    ],
)
def test_what_cannot_be_read_as_tokens_ends_the_session(records: list[bytes], code: ErrorCode) -> None:
    driver = running(ServerSettings(buffered_s=2), encoding="tokens")
    for record in records[:-1]:
        driver.send(record)
        assert driver.session.state is SessionState.RUNNING
    driver.send(records[-1])
    assert driver.ended_with(code)
    assert driver.commands[-1] == CloseStream()


def test_an_end_is_not_a_close() -> None:
    driver = running(encoding="tokens")
    for record in (HELLO, FIRST, SECOND, END):
        driver.send(record)
    assert driver.session.state is SessionState.RUNNING
    driver.send(json.dumps({"type": "close"}))
    assert driver.session.state is SessionState.CLOSING
