"""What was said, heard once more: every word in one stretch, nothing waited for without end, live words first."""

import asyncio
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from benchmarks.word_errors import count_errors
from tests import serving
from tests.serving import RawWebSocket, pieces, real_engine, receive_all, session, speech
from tests.test_session import START, Driver, silence, word
from voicewire.asr.events import Endpoint, Event, Flushed, Transcript, Word
from voicewire.asr.remote_pass import RemotePass
from voicewire.asr.second_pass import SecondPass
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.stretch import LONGEST_S, Stretch
from voicewire.streaming.commands import Opened, Refine, Refined
from voicewire.streaming.messages import Done, ErrorCode, RefinedMessage, Warning
from voicewire.streaming.refiner import MOST_WAITING_S, Refiner
from voicewire.streaming.seat import Seat
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.stretches import BEFORE_S, BEHIND_S, Said, Stretches

DOCS = Path(__file__).resolve().parent.parent / "docs" / "client.md"
TOLD = (
    "Printing, then, for our purpose, may be considered as the art of making books by means of movable types."
)


# ---- stretches


@given(
    spans=st.lists(st.tuples(st.floats(0, 4), st.floats(0.05, 2)), max_size=60),
    turns=st.lists(st.tuples(st.floats(0.01, 5), st.sampled_from(["", "", "endpoint", "flush"])), min_size=1),
)
@settings(max_examples=60, deadline=None)
def test_every_word_is_in_one_stretch_with_its_audio(
    spans: list[tuple[float, float]], turns: list[tuple[float, str]]
) -> None:
    """Whatever is said when, however audio is cut and events are spread; and memory is bounded."""
    words, at = [], 0.0
    for number, (gap_s, length_s) in enumerate(spans):
        start_s = at + gap_s
        at = start_s + length_s
        words.append(Word(f" w{number}", start_s, at, 0.9, at))
    total = round((at + 3) * SAMPLE_RATE)
    audio = np.arange(total, dtype=np.float32)
    stretches, said = Stretches(), list[Said]()
    pushed, utterance, most_kept = 0, 0, 0.0
    waiting = list(words)
    for length_s, ending in itertools.cycle(turns):
        if pushed == total:
            break
        size = round(length_s * SAMPLE_RATE)
        stretches.hear(audio[pushed : pushed + size])
        pushed = min(total, pushed + size)
        now = pushed / SAMPLE_RATE
        due = [one for one in waiting if one.end_s + 0.5 <= now]
        waiting = waiting[len(due) :]
        events: list[Event] = [Transcript(tuple(due), (), utterance, now)]
        if ending == "endpoint":
            events.append(Endpoint(utterance, 0.0, now, ""))
            utterance += 1
        elif ending == "flush":
            events.append(Flushed("tag", now))
        for event in events:
            said += stretches.follow(event)
        most_kept = max(most_kept, stretches.kept_s)
    said += stretches.follow(Transcript(tuple(waiting), (), utterance, at))
    said += stretches.follow(Flushed("end", at))
    assert [one for each in said for one in each.words] == words
    assert most_kept < LONGEST_S + 12
    for each in said:
        assert len(each.samples) <= LONGEST_S * SAMPLE_RATE
        first = round(each.start_s * SAMPLE_RATE)
        np.testing.assert_array_equal(each.samples, audio[first : first + len(each.samples)])
        assert each.start_s <= each.words[0].start_s + 1e-3
        assert each.start_s >= each.words[0].start_s - BEFORE_S - 1e-3
        end_s = each.start_s + len(each.samples) / SAMPLE_RATE
        assert each.words[-1].end_s - 1e-3 <= end_s <= each.words[-1].end_s + BEHIND_S + 1e-3


def test_punctuation_that_comes_late_is_no_stretch() -> None:
    stretches = Stretches()
    stretches.hear(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert len(list(stretches.follow(Transcript((word(" one"),), (), 0, 1.0)))) == 0
    assert len(list(stretches.follow(Flushed("a", 1.0)))) == 1
    assert list(stretches.follow(Transcript((word(".", 0.3),), (), 0, 2.0))) == []
    assert list(stretches.follow(Endpoint(0, 0.0, 0.6, "one."))) == []


# ---- the session


def refining(**start: object) -> Driver:
    return Driver().send({**START, "refine": True, **start}).report(Opened()).send(silence(3))


def said(driver: Driver, text: str = " one") -> Refine:
    """A word and its endpoint; what the session then asks for."""
    driver.say(Transcript((word(text, 0.5),), (), 0, 2.0), Endpoint(0, 0.5, 0.8, text), processed_s=2)
    refine = driver.commands[-1]
    assert isinstance(refine, Refine)
    return refine


def test_an_utterance_is_heard_once_more_and_told_of() -> None:
    driver = refining(keyterms=["Ada"])
    refine = said(driver)
    assert (refine.stretch.text, refine.stretch.language, refine.stretch.keyterms) == (" one", "en", ("Ada",))
    assert refine.stretch.start_s == pytest.approx(0.2)
    driver.report(Refined(refine.number, (Word(" won", 0.5, 0.9, 0.8, 1.3),)))
    told = driver.last
    assert isinstance(told, RefinedMessage)
    assert (told.utterance, told.start, told.end, told.text) == (0, 0.5, 0.8, "won")
    assert [one.word for one in told.words] == [" won"]
    driver.report(Refined(refine.number, ()))
    assert driver.last is told


def test_without_word_items_the_text_alone_is_told() -> None:
    driver = refining(words=False)
    driver.report(Refined(said(driver).number, (word(" won", 0.5),)))
    assert isinstance(driver.last, RefinedMessage)
    assert (driver.last.text, driver.last.words) == ("won", [])


def test_close_waits_for_what_is_on_its_way() -> None:
    driver = refining()
    driver.send({"type": "close"})
    driver.say(Transcript((word(" one", 0.5),), (), 0, 3.0), Flushed("close", 3.0), processed_s=3)
    assert not isinstance(driver.last, Done)
    refine = next(command for command in driver.commands if isinstance(command, Refine))
    driver.report(Refined(refine.number, (word(" one", 0.5),)))
    assert [type(message) for message in driver.messages[-2:]] == [RefinedMessage, Done]


def test_close_does_not_wait_for_ever() -> None:
    driver = refining()
    driver.send({"type": "close"})
    driver.say(Transcript((word(" one", 0.5),), (), 0, 3.0), Flushed("close", 3.0), processed_s=3)
    deadline = driver.session.next_deadline()
    assert deadline is not None
    assert deadline <= driver.now + driver.settings.refine_s
    driver.wait(deadline - driver.now)
    warning, done = driver.messages[-2:]
    assert isinstance(warning, Warning)
    assert warning.code is ErrorCode.NOT_REFINED
    assert "0.5 to 0.8" in warning.message
    assert isinstance(done, Done)


def test_what_takes_too_long_is_left_out_while_the_session_goes_on() -> None:
    driver = refining()
    refine = said(driver)
    driver.now += driver.settings.refine_s + 1
    driver.say(processed_s=2.5)
    assert [message.code for message in driver.messages if isinstance(message, Warning)] == [
        ErrorCode.NOT_REFINED
    ]
    driver.report(Refined(refine.number, (word(" late"),)))
    assert not any(isinstance(message, RefinedMessage) for message in driver.messages)


def test_a_session_that_ends_with_an_error_does_not_wait() -> None:
    driver = refining()
    driver.commands += driver.session.shut_down(driver.now, 5.0)
    driver.say(Transcript((word(" one", 0.5),), (), 0, 3.0), Flushed("close", 3.0), processed_s=3)
    driver.read()
    assert driver.ended_with(ErrorCode.SHUTTING_DOWN)


def test_configure_turns_it_on_and_off() -> None:
    driver = Driver().send(START).report(Opened()).send(silence(3))
    driver.say(Transcript((word(" one", 0.5),), (), 0, 2.0), Flushed("x", 2.0), processed_s=2)
    driver.send({"type": "configure", "refine": True}).send(silence(3))
    driver.say(Transcript((word(" late", 2.0), word(" two", 4.0)), (), 0, 5.0), Flushed("x", 5.0))
    asked = [command for command in driver.commands if isinstance(command, Refine)]
    assert [command.stretch.text for command in asked] == [" two"]
    driver.send({"type": "configure", "refine": False}).send(silence(3))
    driver.say(Transcript((word(" three", 7.0),), (), 0, 8.0), Flushed("x", 8.0))
    assert len([command for command in driver.commands if isinstance(command, Refine)]) == 1


@pytest.mark.parametrize("wrong", [{"encoding": "tokens"}, {"outputs": ["tokens"]}])
def test_it_needs_audio_and_words(wrong: dict[str, object]) -> None:
    driver = Driver().send({**START, "refine": True, **wrong})
    assert driver.ended_with(ErrorCode.UNSUPPORTED_SETTING)


# ---- the desk


class Ear:
    """Hears what it is told, or fails, when it is let."""

    room = 2

    def __init__(self) -> None:
        self.free = threading.Event()
        self.batches: list[list[str]] = []
        self.broken = 0

    def hear(self, stretches: Sequence[Stretch]) -> list[tuple[Word, ...]]:
        self.free.wait(10)
        self.batches.append([stretch.text for stretch in stretches])
        if self.broken:
            self.broken -= 1
            raise RuntimeError("told to break")
        return [(word(stretch.text.upper()),) for stretch in stretches]


class Nobody:
    def submit(self, *_: object) -> None:
        """Nothing is asked of it."""


def stretch(text: str, seconds: float = 1.0) -> Stretch:
    return Stretch(np.zeros(round(seconds * SAMPLE_RATE), np.float32), 0.0, text)


def at_the_desk(
    refiner: Refiner, do: Callable[[Callable[[int, Stretch], None]], None], expected: int
) -> dict[int, str | None]:
    """Submits what `do` asks for; gives what came back, by number."""
    answers: dict[int, str | None] = {}

    async def drive() -> None:
        done = asyncio.Event()

        def receive(report: object) -> None:
            assert isinstance(report, Refined)
            answers[report.number] = None if report.words is None else report.words[0].text
            if len(answers) == expected:
                done.set()

        seat = Seat(Nobody(), Nobody(), asyncio.get_running_loop(), receive, refiner)
        do(lambda number, one: seat.send(Refine(number, one)))
        await asyncio.wait_for(done.wait(), 10)

    try:
        asyncio.run(drive())
    finally:
        refiner.stop()
    return answers


def test_stretches_are_heard_in_their_order_and_in_batches() -> None:
    ear = Ear()

    def do(submit: Callable[[int, Stretch], None]) -> None:
        for number in range(5):
            submit(number, stretch(f"n{number}"))
        ear.free.set()

    answers = at_the_desk(Refiner(lambda: ear, 10.0), do, 5)
    assert answers == {number: f"N{number}" for number in range(5)}
    assert [text for batch in ear.batches for text in batch] == [f"n{number}" for number in range(5)]
    assert max(len(batch) for batch in ear.batches) == 2


def test_too_many_waiting_leave_the_oldest_out() -> None:
    ear = Ear()
    room = int(MOST_WAITING_S // 30)

    def do(submit: Callable[[int, Stretch], None]) -> None:
        for number in range(room + 4):
            submit(number, stretch(f"n{number}", 30.0))
        ear.free.set()

    answers = at_the_desk(Refiner(lambda: ear, 60.0), do, room + 4)
    left_out = [number for number, text in answers.items() if text is None]
    assert 3 <= len(left_out) <= 4
    assert max(left_out) <= 4


def test_what_waited_too_long_is_left_out() -> None:
    answers = at_the_desk(Refiner(Ear, 0.0), lambda submit: submit(1, stretch("old")), 1)
    assert answers == {1: None}


def test_a_fault_costs_its_batch_and_the_next_one_begins_anew() -> None:
    ear = Ear()
    ear.broken = 1
    ear.free.set()
    loads = []

    def load() -> Ear:
        loads.append(1)
        return ear

    def do(submit: Callable[[int, Stretch], None]) -> None:
        submit(0, stretch("a"))
        while not ear.batches:
            pass
        submit(1, stretch("b"))

    assert at_the_desk(Refiner(load, 10.0), do, 2) == {0: None, 1: "B"}
    assert len(loads) == 2


# ---- the real one


@pytest.fixture(scope="module")
def second_pass() -> SecondPass:
    return SecondPass.load("base", precision="float32", room=3)


def text_of(words: tuple[Word, ...]) -> str:
    return "".join(one.text for one in words).strip()


def test_a_stretch_is_heard_as_by_whisper_whatever_was_committed_and_in_any_company(
    second_pass: SecondPass, spoken: np.ndarray
) -> None:
    samples = speech(9.0).astype(np.float32) / 32_768
    others = [
        Stretch(spoken[: 5 * SAMPLE_RATE], 3.0),
        Stretch(spoken[6 * SAMPLE_RATE : 9 * SAMPLE_RATE], 7.0),
    ]
    (alone,) = second_pass.hear([Stretch(samples, 100.0)])
    assert count_errors(TOLD, text_of(alone)).errors <= 1
    for draft in (text_of(alone), "Printing than, for hour purpose", "nothing of the sort " * 20):
        heard = second_pass.hear([others[0], Stretch(samples, 100.0, f" {draft}"), others[1]])
        assert [one.text for one in heard[1]] == [one.text for one in alone]
    assert 100.3 < alone[0].start_s < 101
    assert all(100 <= one.start_s <= one.end_s <= 109 for one in alone)


def test_the_process_does_the_same_and_its_death_is_named() -> None:
    remote = RemotePass("base", precision="float32", room=2)
    samples = speech(4.0).astype(np.float32) / 32_768
    (words,) = remote.hear([Stretch(samples, 0.0)])
    assert text_of(words).startswith("Printing")
    remote._child.process.kill()
    with pytest.raises(Exception, match="gone"):
        remote.hear([Stretch(samples, 0.0)])


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(refine_s=60), engine=real_engine()) as server:
        yield server


def test_a_client_that_asks_for_it_gets_it_before_done(server: RunningServer) -> None:
    with session(server, refine=True) as client:
        for piece in pieces(speech(9.0).tobytes(), 9600):
            client.send(piece)
        client.send('{"type": "close"}')
        messages = receive_all(client, 90)
    refined = [message for message in messages if message["type"] == "refined"]
    assert messages[-1]["type"] == "done"
    assert refined, [message["type"] for message in messages]
    assert count_errors(TOLD, " ".join(message["text"] for message in refined)).errors <= 1
    words = [one for message in messages if message["type"] == "transcript" for one in message["words"]]
    assert refined[0]["start"] == words[0]["start"]
    numbers = [message["seq"] for message in messages if "seq" in message]
    assert numbers == list(range(1, len(numbers) + 1))


def test_it_is_kept_for_a_client_whose_connection_is_lost(server: RunningServer) -> None:
    """While the second pass is at work: the last that it heard before is a committed word."""
    with RawWebSocket(server) as client:
        client.send({**serving.START, "refine": True, "resume": True})
        token = client.receive()[1]["resume"]["token"]
        client.send(speech(9.0).tobytes())
        client.send({"type": "close"})
        while client.receive()[1]["type"] != "transcript":
            pass
        client.vanish()
    with connect(f"{server.url}?resume") as back:
        back.send(json.dumps({"type": "resume", "token": token, "received": 1}))
        messages = receive_all(back, 90)
    refined = [message for message in messages if message["type"] == "refined"]
    assert messages[-1]["type"] == "done"
    assert count_errors(TOLD, " ".join(message["text"] for message in refined)).errors <= 1


def test_the_document_s_example_does_what_it_says(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python refine\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    soundfile.write(tmp_path / "talk.wav", speech(9.0), SAMPLE_RATE)
    monkeypatch.chdir(tmp_path)
    exec(example.replace("ws://127.0.0.1:8765", server.url), {})
    assert "movable types" in capsys.readouterr().out
