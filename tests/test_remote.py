"""A recogniser in a process of its own does what one in this process does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speech_tars import Clip
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.errors import AudioError, CapacityError, RecogniserLostError, WeightsError
from voicewire.asr.events import Event, Flushed, Transcript
from voicewire.asr.remote import RemoteTranscriber
from voicewire.asr.settings import StreamSettings

Clips = Callable[[str, int], list[Clip]]

LOADING = {"slots": 2, "adapter": "none", "device": "cpu", "precision": "float32", "threads": 1}


@pytest.fixture(scope="module")
def remote() -> RemoteTranscriber:
    return RemoteTranscriber.load("tiny.en", **LOADING)


def said(recogniser: RemoteTranscriber | BatchTranscriber, slot: int) -> list[Event]:
    """What it says until it answers a flush."""
    events: list[Event] = []
    while not any(isinstance(event, Flushed) for event in events):
        events += recogniser.step().get(slot, [])
    return events


def words(events: list[Event]) -> list[tuple[str, float, float]]:
    return [
        (word.text, word.start_s, word.end_s)
        for event in events
        if isinstance(event, Transcript)
        for word in event.words
    ]


def test_it_says_what_one_in_this_process_says(remote: RemoteTranscriber, clips: Clips) -> None:
    samples = clips("dev-00", 1)[0].samples[:64_000]
    near = BatchTranscriber.load("tiny.en", **LOADING)
    assert (remote.model_name, remote.identity, remote.capacity) == (near.model_name, near.identity, 2)
    assert remote.state_bytes_per_slot == near.state_bytes_per_slot
    everything = []
    for recogniser in (remote, near):
        slot = recogniser.open(StreamSettings())
        recogniser.push(slot, samples[:30_000])
        events = recogniser.step()[slot]
        assert 0 < recogniser.backlog_samples(slot) < 30_000
        recogniser.push(slot, samples[30_000:])
        recogniser.flush(slot, "end")
        moved = recogniser.restore(recogniser.snapshot(slot))
        recogniser.close(slot)
        events += said(recogniser, moved)
        assert recogniser.backlog_samples(moved) == 0
        recogniser.close(moved)
        everything.append(events)
    assert words(everything[0])
    assert everything[0] == everything[1]
    assert remote.stage_seconds["encoder"] > 0


def test_errors_come_across(remote: RemoteTranscriber) -> None:
    slots = [remote.open(StreamSettings()) for _ in range(2)]
    with pytest.raises(CapacityError, match="all 2 slots"):
        remote.open(StreamSettings())
    with pytest.raises(AudioError, match="finite"):
        remote.push(slots[0], np.full(10, np.nan, np.float32))
    for slot in slots:
        remote.close(slot)
    with pytest.raises(RuntimeError, match="KeyError"):
        remote.close(slots[0])
    assert remote.step() == {}


def test_weights_that_are_missing_are_told_of_and_leave_no_process() -> None:
    with pytest.raises(WeightsError, match="there-is-none"):
        RemoteTranscriber.load("there-is-none.pt", **LOADING)


def test_a_process_that_is_killed_is_lost_for_good_and_at_once() -> None:
    remote = RemoteTranscriber.load("tiny.en", **LOADING)
    slot = remote.open(StreamSettings())
    os.kill(remote._child.process.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(RecogniserLostError, match="exit status -9"):
            remote.step()
    remote.push(slot, np.zeros(100, np.float32))
    with pytest.raises(RecogniserLostError):
        remote.close(slot)


def test_a_process_heeds_no_signal_and_ends_with_who_started_it() -> None:
    code = (
        "import sys, time; from voicewire.asr.remote import RemoteTranscriber;"
        f"remote = RemoteTranscriber.load('tiny.en', **{LOADING!r});"
        "print(remote._child.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, signal.SIGINT)
        os.kill(worker, signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(0.3)
        os.kill(worker, 0)
        parent.kill()
    until = time.monotonic() + 10
    while _runs(worker):
        assert time.monotonic() < until, "the worker outlived its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether there is such a process, other than one that is dead and that nobody has asked after."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
