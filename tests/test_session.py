"""The session without sockets, threads or a clock: every state, every violation, every deadline."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicewire.asr.events import DecoderReset, Endpoint, Event, Flushed, SpeechStarted, Transcript, Word
from voicewire.asr.settings import SAMPLE_RATE, StreamSettings
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    ConfigureStream,
    Failed,
    FlushStream,
    Opened,
    OpenStream,
    Progress,
    PushAudio,
)
from voicewire.streaming.messages import (
    CLOSE_CODES,
    Configured,
    Done,
    EndpointMessage,
    Error,
    ErrorCode,
    FlushedMessage,
    Ready,
    ServerMessage,
    SpeechStartedMessage,
    TranscriptMessage,
    Warning,
    parse_server_message,
)
from voicewire.streaming.patience import SessionState
from voicewire.streaming.session import Session
from voicewire.streaming.settings import ServerSettings

SETTINGS = ServerSettings(outgoing_items=100)
START = {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000}


def word(text: str, at: float = 0.0) -> Word:
    return Word(text, at, at + 0.3, 0.9, at + 1.0)


@dataclass
class Driver:
    """A session, its time, and everything that came out of it."""

    settings: ServerSettings = SETTINGS
    now: float = 1000.0
    commands: list[Command] = field(default_factory=list)
    messages: list[ServerMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = Session(self.settings, "base", "a1", self.now)

    def send(self, message: dict[str, object] | str | bytes) -> "Driver":
        if isinstance(message, bytes):
            self.commands += self.session.receive_bytes(message, self.now)
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self.commands += self.session.receive_text(text, self.now)
        return self.read()

    def report(self, report: Opened | Progress | Failed) -> "Driver":
        self.commands += self.session.receive_report(report, self.now)
        return self.read()

    def say(self, *events: Event, processed_s: float = 0.0) -> "Driver":
        return self.report(Progress(events, round(processed_s * SAMPLE_RATE)))

    def wait(self, seconds: float) -> "Driver":
        self.now += seconds
        self.commands += self.session.tick(self.now)
        return self.read()

    def read(self) -> "Driver":
        while (message := self.session.take()) is not None:
            self.messages.append(message)
        return self

    def pushed_samples(self) -> int:
        return sum(len(command.samples) for command in self.commands if isinstance(command, PushAudio))

    @property
    def last(self) -> ServerMessage:
        return self.messages[-1]

    def ended_with(self, code: ErrorCode) -> bool:
        """Whether an error of this code was the last word, and the session is over."""
        assert isinstance(self.last, Error), self.messages
        assert self.last.code == code, self.last
        assert self.session.state is SessionState.CLOSED
        assert self.session.ended_with == code
        assert self.session.close_code == CLOSE_CODES[code]
        return True


def running(**start: object) -> Driver:
    driver = Driver().send({**START, **start}).report(Opened())
    assert isinstance(driver.last, Ready)
    return driver


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * 16_000))


# ---- the way of a session


def test_start_opens_a_stream_and_ready_says_what_holds() -> None:
    driver = Driver().send({**START, "language": "de", "chunk_ms": 200, "interim": False, "endpoint_ms": 900})
    assert driver.session.state is SessionState.OPENING
    assert not driver.session.accepts_input
    assert driver.commands == [OpenStream(StreamSettings(200, 1200, 900, "de", interim=False))]
    assert driver.messages == []
    driver.report(Opened())
    ready = driver.last
    assert isinstance(ready, Ready)
    assert (ready.session_id, ready.model, ready.version) == ("a1", "base", 1)
    assert (ready.settings.chunk_ms, ready.settings.commit_ms, ready.settings.language) == (200, 1200, "de")
    assert ready.settings.interim is False
    assert ready.limits == SETTINGS.limits
    assert driver.session.state is SessionState.RUNNING


@pytest.mark.parametrize(
    ("server", "asked", "given_ms"),
    [
        ((300, 1200), {}, (300, 1200)),
        ((300, 1200), {"commit_ms": 200}, (200, 200)),
        ((100, 200), {"chunk_ms": 300}, (300, 300)),
        ((100, 100), {"chunk_ms": 100, "commit_ms": 600}, (100, 600)),
    ],
)
def test_what_start_leaves_open_is_made_to_fit(
    server: tuple[int, int], asked: dict[str, int], given_ms: tuple[int, int]
) -> None:
    driver = Driver(ServerSettings(chunk_ms=server[0], commit_ms=server[1])).send({**START, **asked})
    driver.report(Opened())
    ready = driver.last
    assert isinstance(ready, Ready)
    assert (ready.settings.chunk_ms, ready.settings.commit_ms) == given_ms


def test_audio_goes_to_the_engine_as_floats_and_the_watermarks_follow() -> None:
    driver = running()
    audio = (np.arange(-800, 800) * 20).astype("<i2")
    driver.send(audio.tobytes())
    pushed = driver.commands[-1]
    assert isinstance(pushed, PushAudio)
    np.testing.assert_allclose(pushed.samples, audio / 32_768, atol=1e-7)
    driver.send(silence(1.9))
    driver.say(Transcript((word(" yes", 0.2),), (word(" we", 0.6),), 0, 1.2), processed_s=1.2)
    transcript = driver.last
    assert isinstance(transcript, TranscriptMessage)
    assert (transcript.audio_received, transcript.audio_processed, transcript.buffered_ms) == (2.0, 1.2, 800)
    assert [item.word for item in transcript.words] == [" yes"]
    assert (transcript.text, transcript.tail_text) == (" yes", " we")
    assert (transcript.words[0].start, transcript.words[0].end, transcript.words[0].emitted) == (
        0.2,
        0.5,
        1.2,
    )


def test_without_words_only_text_is_given() -> None:
    driver = running(words=False)
    driver.say(Transcript((word(" a"), word("b")), (word(" c"),), 0, 1.2), processed_s=1.2)
    transcript = driver.last
    assert isinstance(transcript, TranscriptMessage)
    assert (transcript.words, transcript.tail) == ([], [])
    assert (transcript.text, transcript.tail_text) == (" ab", " c")


def test_without_interim_results_no_tail_is_given() -> None:
    driver = running(interim=False)
    driver.say(Transcript((), (word(" perhaps"),), 0, 0.25), processed_s=0.25)
    assert isinstance(driver.last, Ready)
    driver.say(Transcript((word(" yes"),), (word(" we"),), 0, 0.5), processed_s=0.5)
    driver.say(processed_s=2.0)
    news = [message for message in driver.messages if isinstance(message, TranscriptMessage)]
    assert [(message.text, message.tail_text, message.tail) for message in news] == [
        (" yes", "", []),
        ("", "", []),
    ]


def test_every_event_has_its_message_and_its_number() -> None:
    driver = running()
    driver.send({"type": "flush", "id": "me"})
    driver.say(
        SpeechStarted(0.1),
        Transcript((word(" yes"),), (), 0, 1.2),
        DecoderReset("repetition", 1.2),
        Endpoint(0, 0.2, 0.5, "yes"),
        Flushed("1", 1.3),
        processed_s=1.3,
    )
    kinds = [SpeechStartedMessage, TranscriptMessage, Warning, EndpointMessage, FlushedMessage]
    assert [type(message) for message in driver.messages[1:]] == kinds
    warning, flushed = driver.messages[3], driver.last
    assert isinstance(warning, Warning)
    assert warning.code == ErrorCode.DECODER_RESET
    assert isinstance(flushed, FlushedMessage)
    assert (flushed.id, flushed.audio_processed) == ("me", 1.3)
    assert [m.seq for m in driver.messages if hasattr(m, "seq")] == [1, 2, 3, 4]


def test_flushes_keep_their_ids_whatever_these_are() -> None:
    driver = running()
    ids: list[str | int | None] = ["x", 7, None, "x"]
    for flush_id in ids:
        driver.send({"type": "flush", "id": flush_id})
    tags = [command.tag for command in driver.commands if isinstance(command, FlushStream)]
    driver.say(*(Flushed(tag, 0.0) for tag in tags))
    assert [message.id for message in driver.messages if isinstance(message, FlushedMessage)] == ids


def test_a_flush_takes_what_the_resampler_holds_back() -> None:
    driver = running(sample_rate=48_000)
    driver.send(bytes(2 * 4800))
    assert driver.pushed_samples() < 1600
    driver.send({"type": "flush"})
    assert driver.pushed_samples() == 1600
    assert isinstance(driver.commands[-1], FlushStream)


def test_configure_is_answered_and_takes_its_place_among_the_audio() -> None:
    driver = running()
    driver.send(silence(0.1)).send({"type": "configure", "chunk_ms": 100, "endpoint_ms": 500})
    driver.send(silence(0.1))
    assert [type(command) for command in driver.commands[1:]] == [PushAudio, ConfigureStream, PushAudio]
    assert driver.commands[2] == ConfigureStream(StreamSettings(100, 1200, 500))
    configured = driver.last
    assert isinstance(configured, Configured)
    assert (configured.settings.chunk_ms, configured.settings.commit_ms) == (100, 1200)


def test_close_sends_the_last_words_then_done_with_totals() -> None:
    driver = running()
    driver.send(silence(2.5)).send({"type": "close"})
    assert driver.session.state is SessionState.CLOSING
    flush = driver.commands[-1]
    assert isinstance(flush, FlushStream)
    driver.say(Transcript((word(" one"),), (), 0, 1.2), Endpoint(0, 0, 1, "one"), processed_s=1.2)
    driver.say(
        Transcript((word(" two"), word(" three")), (), 1, 2.5), Flushed(flush.tag, 2.5), processed_s=2.5
    )
    assert driver.commands[-1] == CloseStream()
    assert isinstance(driver.messages[-2], TranscriptMessage)
    assert isinstance(driver.last, Done)
    assert driver.last.totals.model_dump() == {"audio_s": 2.5, "words": 3, "utterances": 2}
    assert driver.session.close_code == 1000
    assert driver.session.done


def test_silence_is_reported_too() -> None:
    """A client that waits for the server to catch up must hear of it where nobody speaks."""
    driver = running()
    driver.send(silence(5)).say(Transcript((), (word(" hm"),), 0, 0.25), processed_s=0.25)
    for quarters in range(2, 16):
        driver.say(processed_s=quarters / 4)
    news = [message for message in driver.messages if isinstance(message, TranscriptMessage)]
    assert [message.audio_processed for message in news] == [0.25, 1.25, 2.25, 3.25]
    assert all(message.tail_text == " hm" for message in news), "a tail stands until another replaces it"


# ---- violations


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", ErrorCode.BAD_JSON),
        ("", ErrorCode.BAD_JSON),
        ("[" * 100_000, ErrorCode.BAD_JSON),
        ("[]", ErrorCode.BAD_MESSAGE),
        ("3", ErrorCode.BAD_MESSAGE),
        ("{}", ErrorCode.BAD_MESSAGE),
        ({"type": "begin"}, ErrorCode.BAD_MESSAGE),
        ({"type": ["start"]}, ErrorCode.BAD_MESSAGE),
        ({"type": "start"}, ErrorCode.BAD_MESSAGE),
        ({**START, "sample_rate": "16000"}, ErrorCode.BAD_MESSAGE),
        ({**START, "sample_rate": 16_000.5}, ErrorCode.BAD_MESSAGE),
        ({**START, "sample_rate": 7999}, ErrorCode.BAD_MESSAGE),
        ({**START, "encoding": "mp3"}, ErrorCode.BAD_MESSAGE),
        ({**START, "channels": 3}, ErrorCode.BAD_MESSAGE),
        ({**START, "chunk_ms": 310}, ErrorCode.BAD_MESSAGE),
        ({**START, "chunk_ms": 110}, ErrorCode.BAD_MESSAGE),
        ({**START, "words": 1}, ErrorCode.BAD_MESSAGE),
        ({**START, "samplerate": 16_000}, ErrorCode.BAD_MESSAGE),
        ({**START, "version": 2}, ErrorCode.UNSUPPORTED_VERSION),
        ({**START, "version": 2, "colour": "blue"}, ErrorCode.UNSUPPORTED_VERSION),
        ({**START, "chunk_ms": 300, "commit_ms": 200}, ErrorCode.UNSUPPORTED_SETTING),
        ({"type": "flush"}, ErrorCode.START_EXPECTED),
        ({"type": "keepalive"}, ErrorCode.START_EXPECTED),
        ({"type": "close"}, ErrorCode.START_EXPECTED),
        (b"\0\0", ErrorCode.START_EXPECTED),
        (b"", ErrorCode.START_EXPECTED),
        ('"' + "x" * SETTINGS.message_bytes + '"', ErrorCode.MESSAGE_TOO_BIG),
        ('"' + "€" * (SETTINGS.message_bytes // 3) + '"', ErrorCode.MESSAGE_TOO_BIG),
    ],
)
def test_what_cannot_begin_a_session_ends_it(
    message: dict[str, object] | str | bytes, code: ErrorCode
) -> None:
    driver = Driver().send(message)
    assert driver.ended_with(code)
    assert driver.commands == []
    assert len(driver.messages) == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (START, ErrorCode.ALREADY_STARTED),
        ("nonsense", ErrorCode.BAD_JSON),
        ({"type": "configure", "chunk_ms": 50}, ErrorCode.BAD_MESSAGE),
        ({"type": "configure", "language": "de"}, ErrorCode.BAD_MESSAGE),
        ({"type": "configure", "commit_ms": 100}, ErrorCode.UNSUPPORTED_SETTING),
        ({"type": "flush", "id": 1.5}, ErrorCode.BAD_MESSAGE),
        ({"type": "flush", "id": "x" * 201}, ErrorCode.BAD_MESSAGE),
        ({"type": "flush", "id": 2**53}, ErrorCode.BAD_MESSAGE),
        (b"\0\0\0", ErrorCode.BAD_AUDIO),
        (bytes(SETTINGS.message_bytes + 2), ErrorCode.MESSAGE_TOO_BIG),
        (silence(30.1), ErrorCode.BUFFER_FULL),
    ],
)
def test_what_cannot_follow_ends_the_session_and_frees_its_slot(
    message: dict[str, object] | str | bytes, code: ErrorCode
) -> None:
    driver = running().send(message)
    assert driver.ended_with(code)
    assert driver.commands[-1] == CloseStream()
    before = list(driver.commands)
    driver.send(silence(1)).send({"type": "flush"}).say(Flushed("1", 1.0)).wait(1e6)
    assert driver.commands == before, "nothing follows the end"
    assert isinstance(driver.last, Error)


def test_errors_do_not_echo_more_than_a_little() -> None:
    for message in ({"type": "x" * 5000}, {**START, "y" * 5000: 1}):
        error = Driver().send(message).last
        assert isinstance(error, Error)
        assert len(error.message) < 250


def test_what_follows_close_is_ignored_with_one_warning() -> None:
    driver = running().send({"type": "close"}).send({"type": "keepalive"}).send({"type": "close"})
    assert isinstance(driver.last, Ready), "a late keepalive and a second close harm nothing"
    count = len(driver.commands)
    driver.send(silence(1)).send({"type": "flush"}).send("nonsense").send(silence(1))
    warnings = [message for message in driver.messages if isinstance(message, Warning)]
    assert [warning.code for warning in warnings] == [ErrorCode.ALREADY_CLOSED]
    assert len(driver.commands) == count
    driver.say(Flushed("close", 0.0))
    assert isinstance(driver.last, Done)


def test_the_engine_s_refusal_comes_instead_of_ready() -> None:
    driver = Driver().send({**START, "language": "xx"})
    driver.report(Failed(ErrorCode.UNSUPPORTED_SETTING, "no such language"))
    assert driver.ended_with(ErrorCode.UNSUPPORTED_SETTING)
    assert len(driver.messages) == 1


# ---- back-pressure


def test_reading_stops_at_the_bound_and_goes_on_below_it() -> None:
    driver = running()
    for _ in range(29):
        driver.send(silence(1))
        assert driver.session.accepts_input
    driver.send(silence(1.5))
    assert not driver.session.accepts_input
    driver.say(processed_s=1.0)
    assert driver.session.accepts_input


def test_a_client_that_is_held_back_is_not_idle() -> None:
    driver = running().send(silence(29)).send(silence(29))
    for processed_s in (1.0, 2.0, 3.0):
        driver.wait(50).say(processed_s=processed_s)
    assert driver.session.state is SessionState.RUNNING
    driver.say(processed_s=40.0).wait(29)
    assert driver.session.state is SessionState.RUNNING
    driver.wait(1)
    assert driver.session.state is SessionState.CLOSING


def test_audio_beyond_all_bounds_ends_the_session() -> None:
    """A driver that does not hold back its client does not fill the memory."""
    driver = running()
    for _ in range(100):
        driver.send(silence(1))
    assert driver.ended_with(ErrorCode.BUFFER_FULL)
    assert driver.pushed_samples() <= 60 * SAMPLE_RATE


def test_unanswered_flushes_hold_the_client_back() -> None:
    driver = running()
    for _ in range(SETTINGS.pending_flushes):
        assert driver.session.accepts_input
        driver.send({"type": "flush"})
    assert not driver.session.accepts_input
    driver.say(Flushed("1", 0.0))
    assert driver.session.accepts_input


def test_a_slow_reader_loses_tails_and_no_word() -> None:
    driver = running()
    for n in range(40):
        tail = tuple(word(f" t{i}") for i in range(n % 5))
        driver.commands += driver.session.receive_report(
            Progress((Transcript((word(f" w{n}"),), tail, 0, n + 1.0),), (n + 1) * SAMPLE_RATE), driver.now
        )
    driver.read()
    assert len(driver.messages) == 2
    transcript = driver.last
    assert isinstance(transcript, TranscriptMessage)
    assert transcript.text == "".join(f" w{n}" for n in range(40))
    assert [item.word for item in transcript.tail] == [" t0", " t1", " t2", " t3"]
    assert transcript.audio_processed == 40.0
    assert transcript.seq == 1


def test_transcripts_of_two_utterances_stay_apart() -> None:
    driver = running()
    driver.commands += driver.session.receive_report(
        Progress((Transcript((word(" a"),), (), 0, 1.0), Transcript((word(" b"),), (), 1, 2.0)), 0),
        driver.now,
    )
    driver.read()
    assert [m.text for m in driver.messages if isinstance(m, TranscriptMessage)] == [" a", " b"]


def test_a_client_that_never_reads_is_let_go() -> None:
    driver = running()
    for n in range(SETTINGS.outgoing_items + 1):
        event = Transcript((word(f" w{n}"),), (), 0, 1.0)
        driver.commands += driver.session.receive_report(Progress((event,), 16_000), driver.now)
    driver.read()
    assert driver.ended_with(ErrorCode.SLOW_READER)
    assert driver.commands[-1] == CloseStream()
    assert len(driver.messages) == 2, "what waited is thrown away"


# ---- time


def test_start_must_come_in_time() -> None:
    driver = Driver()
    assert driver.session.next_deadline() == driver.now + SETTINGS.handshake_s
    driver.wait(SETTINGS.handshake_s - 0.01)
    assert driver.session.state is SessionState.WAITING
    driver.wait(0.01)
    assert driver.ended_with(ErrorCode.HANDSHAKE_TIMEOUT)


@pytest.mark.parametrize("activity", [{"type": "keepalive"}, b"", silence(0.1), {"type": "flush"}])
def test_anything_sent_keeps_a_session_alive(activity: dict[str, object] | bytes) -> None:
    driver = running()
    for _ in range(5):
        driver.wait(SETTINGS.idle_s - 1).send(activity).say(processed_s=driver.session.received_s)
    assert driver.session.state is SessionState.RUNNING


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(SETTINGS.idle_s, ErrorCode.IDLE_TIMEOUT), (SETTINGS.session_s, ErrorCode.SESSION_TOO_LONG)],
)
def test_time_outs_send_the_words_that_are_left_first(seconds: float, code: ErrorCode) -> None:
    driver = running().send(silence(1)).wait(seconds)
    assert driver.session.state is SessionState.CLOSING
    flush = driver.commands[-1]
    assert isinstance(flush, FlushStream)
    driver.send(silence(1))
    assert not any(isinstance(message, Warning) for message in driver.messages), "the client could not know"
    driver.say(Transcript((word(" last"),), (), 0, 1.0), Flushed(flush.tag, 1.0), processed_s=1.0)
    assert driver.ended_with(code)
    assert isinstance(driver.messages[-2], TranscriptMessage)


def test_a_busy_session_ends_at_its_longest() -> None:
    driver = running()
    while driver.session.state is SessionState.RUNNING and driver.now < 1000 + 2 * SETTINGS.session_s:
        driver.wait(20).send({"type": "keepalive"})
    assert driver.now - 1000 == pytest.approx(SETTINGS.session_s, abs=20)


def test_shutting_down_finishes_what_was_received() -> None:
    driver = running().send(silence(1))
    driver.commands += driver.session.shut_down(driver.now, 5.0)
    driver.say(Transcript((word(" last"),), (), 0, 1.0), Flushed("close", 1.0), processed_s=1.0)
    assert driver.ended_with(ErrorCode.SHUTTING_DOWN)
    assert isinstance(driver.messages[-2], TranscriptMessage)


def test_shutting_down_is_bounded() -> None:
    driver = running().send(silence(1))
    driver.commands += driver.session.shut_down(driver.now, 5.0)
    driver.wait(5)
    assert driver.ended_with(ErrorCode.SHUTTING_DOWN)
    waiting = Driver()
    waiting.commands += waiting.session.shut_down(waiting.now, 5.0)
    assert waiting.read().ended_with(ErrorCode.SHUTTING_DOWN)


def test_a_closing_client_still_gets_done_when_the_server_shuts_down() -> None:
    driver = running().send({"type": "close"})
    driver.commands += driver.session.shut_down(driver.now, 5.0)
    driver.say(Flushed("close", 0.0))
    assert isinstance(driver.last, Done)


def test_an_engine_that_never_finishes_is_not_waited_for() -> None:
    driver = running().send(silence(1)).send({"type": "close"}).wait(SETTINGS.drain_s)
    assert driver.ended_with(ErrorCode.OVERLOADED)
    opening = Driver().send(START).wait(SETTINGS.drain_s)
    assert opening.ended_with(ErrorCode.OVERLOADED)
    assert opening.commands[-1] == CloseStream()


def test_an_engine_that_makes_no_headway_holds_nobody_back_for_ever() -> None:
    driver = running().send(silence(0.1)).wait(20).send(silence(29)).send(silence(29))
    driver.wait(SETTINGS.drain_s - 1)
    assert driver.session.state is SessionState.RUNNING
    driver.wait(1)
    assert driver.ended_with(ErrorCode.OVERLOADED)


def test_a_client_that_left_is_forgotten() -> None:
    driver = running().send(silence(1))
    assert driver.session.client_left() == [CloseStream()]
    assert driver.session.client_left() == []
    assert driver.session.next_deadline() is None
    assert driver.read().last == driver.messages[0], "nothing more is said"


# ---- anything at all

MESSAGES = st.one_of(
    st.just(START),
    st.just({**START, "encoding": "flac"}),
    st.just({**START, "sample_rate": 44_100, "channels": 2, "words": False}),
    st.just({"type": "close"}),
    st.just({"type": "keepalive"}),
    st.builds(
        lambda flush_id: {"type": "flush", "id": flush_id}, st.none() | st.integers() | st.text(max_size=5)
    ),
    st.builds(
        lambda chunk, commit: {"type": "configure", "chunk_ms": chunk, "commit_ms": commit},
        st.sampled_from([100, 200, 300]),
        st.sampled_from([100, 300, 1200]),
    ),
)
WORDS = st.lists(st.builds(word, st.text(min_size=1, max_size=6), st.floats(0, 1e4)), max_size=3).map(tuple)
EVENTS = st.one_of(
    st.builds(Transcript, WORDS, WORDS, st.integers(0, 3), st.floats(0, 1e5)),
    st.builds(SpeechStarted, st.floats(0, 1e5)),
    st.builds(Endpoint, st.integers(0, 3), st.floats(0, 1e5), st.floats(0, 1e5), st.text(max_size=9)),
    st.builds(Flushed, st.sampled_from(["1", "2", "close", None]), st.floats(0, 1e5)),
    st.builds(DecoderReset, st.just("repetition"), st.floats(0, 1e5)),
)
REPORTS = st.one_of(
    st.just(Opened()),
    st.builds(Progress, st.lists(EVENTS, max_size=3).map(tuple), st.integers(0, 10**7)),
    st.builds(Failed, st.sampled_from([ErrorCode.INTERNAL, ErrorCode.UNSUPPORTED_SETTING]), st.just("why")),
)
ACTIONS = st.one_of(
    st.tuples(st.just("send"), MESSAGES),
    st.tuples(st.just("send"), MESSAGES),
    st.tuples(st.just("send"), st.text(max_size=40)),
    st.tuples(st.just("send"), st.binary(max_size=400)),
    st.tuples(st.just("send"), st.just(silence(12))),
    st.tuples(st.just("report"), REPORTS),
    st.tuples(st.just("report"), st.just(Opened())),
    st.tuples(st.just("wait"), st.floats(0, 100)),
    st.tuples(st.just("shut_down"), st.floats(0.1, 20)),
    st.tuples(st.just("leave"), st.none()),
)


@settings(max_examples=400, deadline=None)
@given(begin=st.booleans(), actions=st.lists(ACTIONS, max_size=25))
def test_whatever_comes_the_session_answers_in_its_protocol_and_ends(
    begin: bool, actions: list[tuple[str, object]]
) -> None:
    driver = Driver()
    opened = begin
    if begin:
        driver.send(START).report(Opened())
    for action, value in actions:
        if action == "report":
            # The engine reports of a stream that it was asked to open, and opens it once.
            if OpenStream not in map(type, driver.commands) or (opened and isinstance(value, Opened)):
                continue
            if not opened and isinstance(value, Progress):
                continue
            opened = opened or isinstance(value, Opened)
        if action == "shut_down":
            driver.commands += driver.session.shut_down(driver.now, value)  # type: ignore[arg-type]
        elif action == "leave":
            driver.commands += driver.session.client_left()
        else:
            getattr(driver, action)(value)
        assert (driver.session.next_deadline() is None) == (driver.session.state is SessionState.CLOSED)
    check(driver)
    for _ in range(4):
        deadline = driver.session.next_deadline()
        if deadline is not None:
            driver.wait(max(0.0, deadline - driver.now))
    assert driver.session.state is SessionState.CLOSED, "left alone, every session ends"
    check(driver)


def check(driver: Driver) -> None:
    """What holds for every session's commands and messages."""
    kinds = [type(command) for command in driver.commands]
    assert kinds.count(OpenStream) == (OpenStream in kinds)
    assert OpenStream not in kinds[1:]
    assert CloseStream not in kinds[:-1]
    assert not kinds or kinds[0] is OpenStream
    for message in driver.messages:
        assert parse_server_message(message.model_dump_json()) == message
    numbers = [message.seq for message in driver.messages if hasattr(message, "seq")]
    assert numbers == list(range(1, len(numbers) + 1))
    ends = [isinstance(message, Done | Error) for message in driver.messages]
    assert not any(ends[:-1]), "nothing follows the end"
    assert not driver.messages or isinstance(driver.messages[0], Ready | Error)
    if driver.session.state is SessionState.CLOSED:
        assert driver.session.close_code in {1000, *CLOSE_CODES.values()}
