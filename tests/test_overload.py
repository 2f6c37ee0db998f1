"""What a server does that has too much to do: the order of it, told to the clients, and undone when load falls."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving import START, pieces, receive, receive_all, speech
from voicewire.asr.settings import StreamSettings
from voicewire.streaming import ladder
from voicewire.streaming.engine import Engine
from voicewire.streaming.ladder import CALM_S, LONGEST_CALM_S, SHED_S, Ladder, Rung
from voicewire.streaming.messages import ErrorCode
from voicewire.streaming.overload import Overload
from voicewire.streaming.pace import Pace
from voicewire.streaming.recogniser import loader
from voicewire.streaming.server import RunningServer, running_server
from voicewire.streaming.settings import ServerSettings

BOUND_S = 4.0
FEW_S = ladder._CLIMB_AT[Rung.FEWER_LOOKS] * BOUND_S
BACKLOGS = st.lists(st.floats(0, 10), min_size=1, max_size=60)


def climbed(late_s: float) -> Rung:
    return Ladder(BOUND_S).look(late_s, 0.0)


@given(st.floats(0, 20), st.floats(0, 20))
def test_who_is_later_stands_no_lower(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert climbed(low) <= climbed(high)


@given(BACKLOGS)
def test_every_rung_is_left_when_load_falls(backlogs: list[float]) -> None:
    steps = Ladder(BOUND_S)
    for number, late_s in enumerate(backlogs):
        steps.look(late_s, 0.3 * number)
    now = 0.3 * len(backlogs)
    for number in range(len(Rung) + 1):
        before = steps.rung
        after = steps.look(0.0, now + number * LONGEST_CALM_S)
        assert before - after <= 1
    assert steps.rung is Rung.FULL


@given(BACKLOGS)
def test_nothing_is_taken_back_before_a_stretch_of_calm(backlogs: list[float]) -> None:
    """So that the number of changes is bounded, whatever the load does."""
    steps = Ladder(BOUND_S)
    falls = []
    for number, late_s in enumerate(backlogs):
        before, now = steps.rung, 1.0 * number
        if steps.look(late_s, now) < before:
            falls.append(now)
    assert all(later - sooner >= CALM_S for sooner, later in pairwise(falls))


def test_a_steady_load_is_tried_less_and_less_often() -> None:
    """It is too much on every rung below the second, as it is for hours where a machine is full."""
    steps = Ladder(BOUND_S)
    falls, now = 0, 0.0
    while now < 3600.0:
        before = steps.rung
        late_s = 0.0 if before >= Rung.NO_LOOKS else ladder._CLIMB_AT[Rung.NO_LOOKS] * BOUND_S
        falls += steps.look(late_s, now) < before
        now += 0.5
    assert 3600 / LONGEST_CALM_S <= falls < 1.3 * 3600 / LONGEST_CALM_S


def test_after_a_new_load_the_rest_is_short_again() -> None:
    steps = Ladder(BOUND_S)
    for now in (0.0, 11.0, 22.0):  # each time left after 10 s, and too early
        steps.look(FEW_S, now)
        steps.look(0.0, now + 0.1)
        steps.look(0.0, now + 10.1)
    assert steps.rung is not Rung.FULL
    steps.look(0.0, now + 2 * LONGEST_CALM_S)
    assert steps.rung is Rung.FULL
    later = now + 4 * LONGEST_CALM_S
    steps.look(FEW_S, later)
    steps.look(0.0, later)
    assert steps.look(0.0, later + CALM_S) is Rung.FULL


@given(st.sampled_from(list(Rung)[1:]), st.lists(st.floats(0.81, 0.99), max_size=50))
def test_load_that_sways_around_a_rung_changes_nothing(rung: Rung, shares: list[float]) -> None:
    steps = Ladder(BOUND_S)
    at_s = ladder._CLIMB_AT[rung] * BOUND_S
    steps.look(at_s, 0.0)
    for number, share in enumerate(shares):
        assert steps.look(at_s * share, 5.0 * number) is rung


def test_sessions_are_let_go_one_by_one_and_not_while_the_backlog_falls() -> None:
    steps = Ladder(BOUND_S)

    def asked(late_s: float, now: float) -> bool:
        steps.look(late_s, now)
        return steps.shed(now)

    assert not asked(9.0, 0.0)
    assert not asked(8.0, SHED_S)
    assert not asked(7.0, 2 * SHED_S)
    assert asked(7.0, 3 * SHED_S)
    assert not asked(7.5, 3.5 * SHED_S)
    assert asked(7.5, 4 * SHED_S)
    assert not asked(1.0, 5 * SHED_S)
    assert not asked(9.0, 6 * SHED_S)


def test_a_bound_of_nothing_lets_it_be() -> None:
    assert Ladder(0.0).look(1000.0, 0.0) is Rung.FULL


def rung_after(turns_s: list[float]) -> Rung:
    """Of a recogniser whose turns took so long, one after another, and after which nobody was behind."""
    overload, now = Overload(BOUND_S), 0.0
    recogniser: Any = None  # nobody is there for whom it could do less
    for turn_s in turns_s:
        now += turn_s
        overload.watch(recogniser, {}, turn_s, now)
    return overload.rung


def test_long_turns_make_words_late_where_nobody_is_behind() -> None:
    assert rung_after([0.3] * 20) is Rung.FULL
    assert rung_after([0.45] * 20) is Rung.FEWER_LOOKS
    assert rung_after([0.05] * 50 + [0.6] + [0.05] * 20) is Rung.FULL  # one is no load
    assert rung_after([0.05] * 50 + [0.6] * 10) is Rung.NO_LOOKS


def test_a_session_is_told_of_what_changes_for_it() -> None:
    plain, silent, searched = StreamSettings(), StreamSettings(interim=False), StreamSettings(beam=4)
    assert [rung.telling(plain) for rung in Rung] == [0, 1, 2, 2, 2]
    assert [rung.telling(silent) for rung in Rung] == [0, 0, 0, 0, 0]
    assert [rung.telling(searched) for rung in Rung] == [0, 1, 2, 3, 3]


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 5)), max_size=30))
def test_audio_faster_than_speech_is_nobody_s_delay(steps: list[tuple[float, float]]) -> None:
    """Never more than has come, and never more than time has passed since audio first came."""
    pace, now, received_s, first = Pace(), 0.0, 0.0, None
    for passed_s, seconds in steps:
        now += passed_s
        pace.hear(seconds, now)
        received_s += seconds
        first = now if first is None else first
        assert 0 <= pace.behind_s(0.0, now) <= min(received_s, now - first) + 1e-9
        assert pace.behind_s(received_s, now) == 0


# ---- a real server with a real model, which is made slow


class Slow:
    """A real recogniser whose every tick takes longer."""

    pause_s = 0.0

    def __init__(self, recogniser: Any) -> None:
        self._recogniser = recogniser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recogniser, name)

    def step(self) -> Any:
        results = self._recogniser.step()
        time.sleep(Slow.pause_s * len(results))
        return results


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    settings = ServerSettings(max_sessions=3, threads=1, overload_s=3.0, codecs=("none",))
    load = loader(settings)
    engine = Engine(lambda: Slow(load()), 3, overload_s=settings.overload_s)
    engine.start()
    engine.wait_ready(240)
    try:
        with running_server(settings, engine=engine) as server:
            yield server
    finally:
        engine.stop()


def test_everything_is_told_and_undone(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clients at the pace of speech; three are too many for it, two are not."""
    from websockets.sync.client import connect

    monkeypatch.setattr(ladder, "CALM_S", 0.5)
    heard: list[list[dict[str, Any]]] = [[], [], []]
    largest_ms = [0, 0, 0]
    stop = threading.Event()

    def speak(websocket: Any) -> None:
        parts = pieces(speech(30.0).tobytes(), 3200)
        began = time.monotonic()
        for number, part in enumerate(parts):
            if stop.is_set():
                break
            time.sleep(max(0.0, began + 0.1 * number - time.monotonic()))
            try:
                websocket.send(part)
            except Exception:
                return
        websocket.send('{"type": "close"}')

    def listen(number: int, websocket: Any) -> None:
        heard[number] += receive_all(websocket, 60)

    def codes(number: int) -> list[str]:
        return [message["code"] for message in heard[number] if "code" in message]

    with ExitStack() as clients:
        threads = []
        Slow.pause_s = 0.0
        for number in range(3):
            websocket = clients.enter_context(connect(server.url, ping_interval=None))
            websocket.send(json.dumps(START))
            assert receive(websocket)["type"] == "ready"
            threads += [
                threading.Thread(target=speak, args=(websocket,)),
                threading.Thread(target=listen, args=(number, websocket)),
            ]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        Slow.pause_s = 0.2
        threads[-1].join(20)
        assert server.engine.rung is Rung.SHEDDING
        assert "voicewire_overload_rung 4.0" in metrics(server)
        Slow.pause_s = 0.0
        until = time.monotonic() + 15
        while server.engine.rung and time.monotonic() < until:
            time.sleep(0.1)
        assert server.engine.rung is Rung.FULL
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join()
    assert codes(2)[-1] == ErrorCode.SHED
    for number in (0, 1):
        assert codes(number)[:2] == [ErrorCode.INTERIM_RARER, ErrorCode.INTERIM_OFF]
        assert codes(number)[-1] == ErrorCode.LOAD_OVER
        assert heard[number][-1]["type"] == "done"
        largest_ms[number] = max(
            message["buffered_ms"] for message in heard[number] if message["type"] == "transcript"
        )
    assert max(largest_ms) < 10_000
    assert 'voicewire_sessions_ended_total{code="shed"} 1.0' in metrics(server)


def metrics(server: RunningServer) -> str:
    import urllib.request

    with urllib.request.urlopen(f"{server.http_url}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text
