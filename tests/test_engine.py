"""The engine's thread: turns, slots, and what happens when the recogniser fails, hangs or cannot be loaded.

Mechanics and faults are tried on a recogniser that can be told to fail; that the real one fits is tried last.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from tests.listening import Listener, seats_free
from tests.recognisers import ScriptedRecogniser
from tests.serving import SLOTS, real_engine, speech
from voicewire.asr.settings import StreamSettings
from voicewire.streaming.commands import (
    ConfigureStream,
    FlushStream,
    Opened,
    OpenStream,
    Progress,
    PushAudio,
    Report,
)
from voicewire.streaming.engine import Engine, EngineState
from voicewire.streaming.errors import EngineError
from voicewire.streaming.messages import ErrorCode

# One worker: the model is loaded once per process.
pytestmark = pytest.mark.xdist_group("served")

SECOND = np.zeros(16_000, np.float32)


@pytest.fixture
def recogniser() -> ScriptedRecogniser:
    return ScriptedRecogniser(capacity=3)


@pytest.fixture
def engine(recogniser: ScriptedRecogniser) -> Iterator[Engine]:
    engine = Engine(lambda: recogniser, 8)
    engine.start()
    engine.wait_ready(10)
    yield engine
    recogniser.gate.set()
    assert engine.stop()


async def test_reports_come_in_order_in_the_event_loop(
    engine: Engine, recogniser: ScriptedRecogniser
) -> None:
    listener = Listener().open(engine)
    assert listener.seat is not None
    for _ in range(3):
        listener.seat.send(PushAudio(SECOND))
    listener.seat.send(FlushStream("x"))
    await listener.until(lambda: listener.flushed("x"))
    assert listener.reports[0] == Opened()
    assert listener.text() == " w0 w1 w2"
    progress = [report.processed_samples for report in listener.reports if isinstance(report, Progress)]
    assert progress == sorted(progress)
    assert progress[-1] == 48_000
    assert listener.threads == {threading.get_ident()}
    assert recogniser.thread is not None
    assert recogniser.thread.name == "voicewire-recogniser"
    listener.seat.give_back()
    await seats_free(engine)
    assert recogniser.free_slots == 3


async def test_seats_are_as_many_as_the_recogniser_has_slots(engine: Engine) -> None:
    assert engine.capacity == 3
    listeners = [Listener().open(engine) for _ in range(3)]
    assert engine.reserve(Listener()) is None
    assert engine.seats_in_use == 3
    assert listeners[1].seat is not None
    listeners[1].seat.give_back()
    listeners[1].seat.give_back()
    await seats_free(engine, 2)
    await Listener().open(engine).until(lambda: engine.seats_in_use == 3)


async def test_a_seat_counts_from_its_reservation(engine: Engine) -> None:
    seats = [engine.reserve(Listener()) for _ in range(3)]
    assert engine.reserve(Listener()) is None
    for seat in seats:
        assert seat is not None
        seat.give_back()
    await seats_free(engine)


async def test_an_idle_engine_sleeps(engine: Engine, recogniser: ScriptedRecogniser) -> None:
    listener = Listener().open(engine)
    assert listener.seat is not None
    listener.seat.send(PushAudio(SECOND))
    await listener.until(lambda: listener.text() == " w0")
    await asyncio.sleep(0.1)
    steps, before = recogniser.steps, os.times()
    await asyncio.sleep(0.5)
    after = os.times()
    assert recogniser.steps == steps
    assert (after.user - before.user) + (after.system - before.system) < 0.25
    listener.seat.give_back()


async def test_a_client_that_leaves_in_mid_step_frees_its_slot_after_it(
    engine: Engine, recogniser: ScriptedRecogniser
) -> None:
    leaver, stayer = Listener().open(engine), Listener().open(engine)
    assert leaver.seat is not None
    assert stayer.seat is not None
    await leaver.until(lambda: leaver.reports == [Opened()] and stayer.reports == [Opened()])
    recogniser.gate.clear()
    leaver.seat.send(PushAudio(SECOND))
    stayer.seat.send(PushAudio(SECOND))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    leaver.seat.give_back()
    assert time.monotonic() - began < 0.05, "the event loop never waits for a step"
    assert engine.seats_in_use == 2
    recogniser.gate.set()
    await seats_free(engine, 1)
    await stayer.until(lambda: stayer.text() == " w0")
    stayer.seat.give_back()


async def test_a_failed_step_ends_every_open_session_and_the_engine_goes_on(
    engine: Engine, recogniser: ScriptedRecogniser
) -> None:
    first, second = Listener().open(engine), Listener().open(engine)
    waiting = engine.reserve(late := Listener())
    recogniser.break_steps = 1
    assert first.seat is not None
    first.seat.send(PushAudio(SECOND))
    for listener in (first, second):
        assert (await listener.failure()).code == ErrorCode.INTERNAL
    await seats_free(engine, 1)
    # A client that has not said `start` yet has lost nothing.
    assert waiting is not None
    waiting.send(OpenStream(StreamSettings()))
    waiting.send(PushAudio(SECOND))
    await late.until(lambda: late.text() == " w0")
    assert engine.state is EngineState.READY
    # What a session still sends after its end has no effect.
    first.seat.send(PushAudio(SECOND))
    first.seat.send(FlushStream("x"))
    waiting.give_back()
    await seats_free(engine)


async def test_a_recogniser_that_keeps_failing_is_loaded_anew() -> None:
    broken = ScriptedRecogniser()
    made = [broken, ScriptedRecogniser()]
    engine = Engine(lambda: made.pop(0), 4)
    engine.start()
    engine.wait_ready(10)
    broken.break_steps = 10
    for _ in range(3):
        listener = Listener().open(engine)
        await listener.failure()
    await listener.until(lambda: not made and engine.ready)
    listener = Listener().open(engine)
    assert listener.seat is not None
    listener.seat.send(PushAudio(SECOND))
    await listener.until(lambda: listener.text() == " w0")
    assert engine.stop()


async def test_a_slot_that_cannot_be_closed_makes_the_engine_load_anew() -> None:
    broken = ScriptedRecogniser()
    made = [broken, ScriptedRecogniser()]
    engine = Engine(lambda: made.pop(0), 4)
    engine.start()
    engine.wait_ready(10)
    leaver, other = Listener().open(engine), Listener().open(engine)
    await other.until(lambda: other.reports == [Opened()])
    broken.break_closes = True
    assert leaver.seat is not None
    leaver.seat.give_back()
    assert (await other.failure()).code == ErrorCode.INTERNAL
    await other.until(lambda: not made and engine.ready)
    assert engine.seats_in_use == 0
    assert engine.stop()


async def test_a_command_that_fails_ends_its_own_session(engine: Engine) -> None:
    wrong, right = Listener().open(engine, StreamSettings(language="xx")), Listener().open(engine)
    failed = await wrong.failure()
    assert failed.code == ErrorCode.UNSUPPORTED_SETTING
    assert "xx" in failed.message
    odd = Listener().open(engine)
    assert odd.seat is not None
    odd.seat.send(PushAudio(np.zeros((2, 2), np.float32)))
    assert (await odd.failure()).code == ErrorCode.INTERNAL
    assert right.seat is not None
    right.seat.send(ConfigureStream(StreamSettings(chunk_ms=100)))
    right.seat.send(PushAudio(SECOND))
    await right.until(lambda: right.text() == " w0")
    right.seat.give_back()
    await seats_free(engine)


async def test_a_listener_that_fails_harms_no_other(engine: Engine) -> None:
    def fail(report: Report) -> None:
        raise RuntimeError("told to break")

    seat = engine.reserve(fail)
    assert seat is not None
    seat.send(OpenStream(StreamSettings()))
    listener = Listener().open(engine)
    assert listener.seat is not None
    for each in (seat, listener.seat):
        each.send(PushAudio(SECOND))
    await listener.until(lambda: listener.text() == " w0")
    seat.give_back()
    listener.seat.give_back()


def test_sessions_of_several_event_loops_share_an_engine(engine: Engine) -> None:
    async def speak() -> Listener:
        listener = Listener().open(engine)
        assert listener.seat is not None
        listener.seat.send(PushAudio(SECOND))
        await listener.until(lambda: listener.text() == " w0")
        listener.seat.give_back()
        return listener

    outcomes: list[Listener] = []
    threads = [threading.Thread(target=lambda: outcomes.append(asyncio.run(speak()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 2
    assert outcomes[0].threads.isdisjoint(outcomes[1].threads)


async def test_a_loop_that_is_gone_is_no_matter(engine: Engine) -> None:
    async def begin() -> None:
        listener = Listener().open(engine)
        assert listener.seat is not None
        listener.seat.send(PushAudio(SECOND))

    await asyncio.to_thread(asyncio.run, begin())
    listener = Listener().open(engine)
    assert listener.seat is not None
    listener.seat.send(PushAudio(SECOND))
    await listener.until(lambda: listener.text() == " w0")


# ---- loading and stopping


async def test_a_model_that_cannot_be_loaded_is_said_so() -> None:
    def load() -> ScriptedRecogniser:
        raise FileNotFoundError("no weights: install voicewire[weights]")

    engine = Engine(load, 4)
    engine.start()
    with pytest.raises(EngineError, match="install voicewire"):
        engine.wait_ready(10)
    assert engine.state is EngineState.FAILED
    with pytest.raises(EngineError, match="install voicewire"):
        engine.reserve(Listener())
    assert engine.stop()


async def test_nobody_is_let_in_before_the_model_is_warm() -> None:
    recogniser = ScriptedRecogniser()
    recogniser.gate.clear()
    engine = Engine(lambda: recogniser, 4)
    engine.start()
    with pytest.raises(EngineError, match="loading"):
        engine.reserve(Listener())
    with pytest.raises(EngineError, match="not loaded within"):
        engine.wait_ready(0.05)
    recogniser.gate.set()
    engine.wait_ready(10)
    assert recogniser.steps > 0
    assert engine.reserve(Listener()) is not None
    assert engine.stop()


async def test_a_model_that_cannot_be_loaded_again_ends_those_who_wait() -> None:
    recogniser = ScriptedRecogniser()
    made = [recogniser]
    engine = Engine(lambda: made.pop(0), 4)
    engine.start()
    engine.wait_ready(10)
    waiting, open_one = Listener(), Listener().open(engine)
    assert engine.reserve(waiting) is not None
    await open_one.until(lambda: open_one.reports == [Opened()])
    recogniser.break_closes = True
    assert open_one.seat is not None
    open_one.seat.give_back()
    assert (await waiting.failure()).code == ErrorCode.INTERNAL
    await waiting.until(lambda: engine.state is EngineState.FAILED)
    assert engine.seats_in_use == 0


async def test_stopping_ends_the_sessions_and_is_bounded_even_in_a_step_that_hangs(
    engine: Engine, recogniser: ScriptedRecogniser
) -> None:
    listener = Listener().open(engine)
    assert listener.seat is not None
    await listener.until(lambda: listener.reports == [Opened()])
    recogniser.gate.clear()
    listener.seat.send(PushAudio(SECOND))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert not await asyncio.to_thread(engine.stop, 0.2)
    assert time.monotonic() - began < 1
    recogniser.gate.set()
    assert (await listener.failure()).code == ErrorCode.SHUTTING_DOWN
    assert await asyncio.to_thread(engine.stop, 5)
    with pytest.raises(EngineError):
        engine.reserve(Listener())


# ---- the real recogniser


@pytest.fixture
async def real() -> AsyncIterator[Engine]:
    engine = await asyncio.to_thread(real_engine)
    yield engine
    await seats_free(engine)


async def test_the_real_recogniser_serves_several_seats_at_once(real: Engine) -> None:
    assert real.capacity == SLOTS
    assert real.model_name == "base"
    audio = speech().astype(np.float32) / 32_768
    listeners = [Listener().open(real) for _ in range(3)]
    for offset, listener in enumerate(listeners):
        assert listener.seat is not None
        # Different starts: the later ones begin in the middle of a sentence.
        for start in range(16_000 * offset, len(audio), 4800):
            listener.seat.send(PushAudio(audio[start : start + 4800]))
        listener.seat.send(FlushStream("end"))
    for offset, listener in enumerate(listeners):
        await listener.until(lambda listener=listener: listener.flushed("end"), 60)
        progress = [report.processed_samples for report in listener.reports if isinstance(report, Progress)]
        assert progress[-1] == len(audio) - 16_000 * offset
        assert listener.seat is not None
        listener.seat.give_back()
    assert "printing" in listeners[0].text().lower()
    assert "purpose" in listeners[1].text().lower()


async def test_the_real_recogniser_refuses_a_language_that_it_lacks(real: Engine) -> None:
    listener = Listener().open(real, StreamSettings(language="klingon"))
    failed = await listener.failure()
    assert failed.code == ErrorCode.UNSUPPORTED_SETTING
    assert "klingon" in failed.message
