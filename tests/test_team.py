"""A team of recognisers does what each of them would do alone."""

import threading
from collections.abc import Callable

import pytest

from benchmarks.speech_tars import Clip
from voicewire.asr.errors import CapacityError
from voicewire.asr.events import Event, Flushed, Transcript
from voicewire.asr.settings import StreamSettings
from voicewire.asr.team import Team
from voicewire.asr.transcriber import BatchTranscriber

Clips = Callable[[str, int], list[Clip]]


@pytest.fixture(scope="module")
def team() -> Team:
    return Team.load("tiny.en", slots=5, adapter="none", precision="float32", threads=2)


def finish(recogniser: Team | BatchTranscriber, slots: list[int]) -> dict[int, list[Event]]:
    """Steps until each of these slots has answered a flush; all that was said, by slot."""
    said: dict[int, list[Event]] = {slot: [] for slot in slots}
    while not all(any(isinstance(event, Flushed) for event in events) for events in said.values()):
        for slot, events in recogniser.step().items():
            said[slot] += events
    return said


def words(events: list[Event]) -> list[tuple[str, float, float]]:
    """Text and times; probabilities differ in the last digits with the company that a stream has in its batch."""
    spoken = [word for event in events if isinstance(event, Transcript) for word in event.words]
    return [(word.text, word.start_s, word.end_s) for word in spoken]


def test_streams_of_a_team_are_as_of_one_alone_and_move_between_members(team: Team, clips: Clips) -> None:
    spoken = [clip.samples[:48_000] for clip in clips("dev-00", 3)]
    slots = [team.open(StreamSettings()) for _ in spoken]
    assert len(set(slots)) == 3
    assert {team.capacity, team.free_slots} == {6, 3}
    for slot, samples in zip(slots, spoken, strict=True):
        team.push(slot, samples[:30_000])
    while team.step():
        pass
    moved = team.restore(team.snapshot(slots[0]))
    assert moved % 2 != slots[0] % 2, "it should have gone where most room is"
    for slot, samples in zip([*slots, moved], [*spoken, spoken[0]], strict=True):
        assert team.backlog_samples(slot) < 30_000
        team.push(slot, samples[30_000:])
        team.flush(slot, "end")
    said = finish(team, [*slots, moved])
    alone = team.members[0].sibling()
    for slot, samples in zip(slots, spoken, strict=True):
        own = alone.open(StreamSettings())
        alone.push(own, samples[:30_000])
        while alone.step():
            pass
        alone.push(own, samples[30_000:])
        alone.flush(own, "end")
        assert words(finish(alone, [own])[own]) == words(said[slot]) != []
        alone.close(own)
    assert words(said[moved]) == words(said[slots[0]])
    for slot in [*slots, moved]:
        team.close(slot)
    assert team.free_slots == team.capacity
    assert team.stage_seconds["encoder"] > 0


def test_a_full_team_says_so(team: Team) -> None:
    slots = [team.open(StreamSettings()) for _ in range(team.capacity)]
    with pytest.raises(CapacityError, match="all 6 slots"):
        team.open(StreamSettings())
    for slot in slots:
        team.close(slot)


def test_members_have_threads_of_their_own_and_an_error_waits_for_the_others(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def step(self: BatchTranscriber) -> dict[int, list[Event]]:
        if self is team.members[0]:
            raise RuntimeError("told to break")
        ran.append(threading.current_thread().name)
        return {}

    monkeypatch.setattr(BatchTranscriber, "step", step)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="told to break"):
            team.step()
    assert len(set(ran)) == 1
    assert threading.current_thread().name not in ran
    assert len(ran) == 2
