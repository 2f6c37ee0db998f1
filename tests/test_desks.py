"""Several recognisers behind one engine: sessions are dealt out to them, and none pays for another's fault."""

import asyncio
import os
import signal

import numpy as np
import pytest

from tests.listening import Listener, seats_free
from tests.mu_law import MuLaw
from tests.recognisers import ScriptedRecogniser
from tests.serving import speech
from voicewire.asr.remote import RemoteTranscriber
from voicewire.streaming.commands import FlushStream, PushAudio
from voicewire.streaming.engine import Engine, EngineState
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.recogniser import count_recognisers, loader
from voicewire.streaming.settings import ServerSettings

SECOND = np.zeros(16_000, np.float32)


def flush(listener: Listener, audio: np.ndarray, tag: str) -> None:
    assert listener.seat is not None
    listener.seat.send(PushAudio(audio))
    listener.seat.send(FlushStream(tag))


async def test_sessions_are_dealt_out_and_a_fault_stays_where_it_is() -> None:
    made = [ScriptedRecogniser(capacity=2) for _ in range(3)]
    codecs_loaded: list[str] = []

    def load_codecs() -> dict[str, MuLaw]:
        codecs_loaded.append("mu_law")
        return {"mu_law": MuLaw()}

    spare = list(made)
    engine = Engine(lambda: spare.pop(0), 8, load_codecs, desks=2)
    engine.start()
    engine.wait_ready(10)
    assert engine.capacity == 4
    listeners = [Listener().open(engine) for _ in range(4)]
    assert engine.reserve(Listener()) is None
    for number, listener in enumerate(listeners):
        flush(listener, SECOND, "a")
        await listener.until(lambda listener=listener: listener.flushed("a"))
        assert listener.text() == " w0", number
    assert [recogniser.free_slots for recogniser in made[:2]] == [0, 0]

    made[0].break_closes = True  # a slot that cannot be closed makes the recogniser worthless
    first = next(one for one in listeners if one.seat and one.seat.recogniser is engine._desks[0])
    assert first.seat is not None
    first.seat.give_back()
    others = [one for one in listeners if one is not first]
    lost = [one for one in others if one.seat and one.seat.recogniser is engine._desks[0]]
    kept = [one for one in others if one not in lost]
    assert (len(lost), len(kept)) == (1, 2)
    assert (await lost[0].failure()).code == ErrorCode.INTERNAL
    for listener in kept:
        flush(listener, SECOND, "b")
        await listener.until(lambda listener=listener: listener.flushed("b"))
        assert listener.text() == " w0 w1"
    await lost[0].until(lambda: not spare)
    await lost[0].until(lambda: all(desk.capacity and desk.alive for desk in engine._desks))
    await lost[0].until(lambda: engine.state is EngineState.READY)
    again = Listener()
    await again.until(lambda: _open(again, engine))
    flush(again, SECOND, "c")
    await again.until(lambda: again.flushed("c"))
    assert codecs_loaded == ["mu_law"]
    assert engine.stop()
    assert engine.state is EngineState.STOPPED


def _open(listener: Listener, engine: Engine) -> bool:
    try:
        listener.open(engine)
    except AssertionError:
        return False
    return True


async def test_one_that_cannot_be_loaded_keeps_the_engine_from_starting() -> None:
    made = [ScriptedRecogniser()]
    engine = Engine(lambda: made.pop(), 4, desks=2)
    engine.start()
    await Listener().until(lambda: engine.state is EngineState.FAILED)
    assert engine.stop()


def test_there_is_one_for_each_core_and_no_more_than_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicewire.streaming.recogniser.find_library", lambda name: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert count_recognisers(ServerSettings(max_sessions=1000)) == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert count_recognisers(ServerSettings(max_sessions=1000)) == 1
    assert count_recognisers(ServerSettings(max_sessions=1000, threads=3)) == 3
    assert count_recognisers(ServerSettings(max_sessions=2, threads=3)) == 2
    assert count_recognisers(ServerSettings(max_sessions=8, threads=3, device="cuda")) == 1


async def test_real_ones_have_processes_of_their_own_and_one_that_dies_is_replaced() -> None:
    settings = ServerSettings(model="tiny.en", adapter="none", max_sessions=4, threads=2, device="cpu")
    engine = Engine(loader(settings), 4, desks=count_recognisers(settings))
    engine.start()
    await asyncio.to_thread(engine.wait_ready, 240)
    audio = speech(4.0).astype(np.float32) / 32_768
    doomed, other = Listener().open(engine), Listener().open(engine)
    flush(other, audio[:32_000], "a")
    assert doomed.seat is not None
    flush(doomed, audio, "a")
    await doomed.until(lambda: doomed.flushed("a"))
    desk = doomed.seat.recogniser
    recogniser = next(one._recogniser for one in engine._desks if one is desk)
    assert isinstance(recogniser, RemoteTranscriber)
    os.kill(recogniser._child.process.pid, signal.SIGKILL)
    flush(doomed, audio, "b")
    assert (await doomed.failure()).code == ErrorCode.INTERNAL
    flush(other, audio[32_000:], "b")
    await other.until(lambda: other.flushed("b"))
    assert other.text().strip()
    reloaded = [one for one in engine._desks if one is desk]
    await other.until(lambda: reloaded[0].state.name == "READY", 60)
    replacement = Listener().open(engine)
    assert replacement.seat is not None
    assert replacement.seat.recogniser is desk
    flush(replacement, audio, "c")
    await replacement.until(lambda: replacement.flushed("c"))
    for listener in (other, replacement):
        assert listener.seat is not None
        listener.seat.give_back()
    await seats_free(engine)
    assert engine.stop()
