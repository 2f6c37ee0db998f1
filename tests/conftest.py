"""What all tests share: real speech with references, and few threads, so that tests can run side by side."""

import os

# Before torch is imported: OpenMP's workers spin while they wait, which starves a server beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from benchmarks.speech_tars import FOLDER_VARIABLE, Clip, SpeechTar, speech_folder
from tests.serving import wait_for_slots

# No deadline: the machine may be busy with other work. In CI the same examples every time; elsewhere new ones.
settings.register_profile("voicewire", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("voicewire")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, a file, or the group that it names, is one process's: so are its fixtures."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture
def no_slot_is_lost(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test with a `server`, all of its sessions are over."""
    yield
    if "server" in request.fixturenames:
        wait_for_slots(request.getfixturevalue("server"), 0, within_s=10)


@pytest.fixture(scope="session")
def speech_tar() -> Callable[[str], Path]:
    """`speech_tar("test-clean-00")` is that tar's path; the test is skipped where the speech is absent."""

    def find(name: str) -> Path:
        path = speech_folder() / f"{name.removesuffix('.tar')}.tar"
        if not path.is_file():
            pytest.skip(f"no speech at {path}: set {FOLDER_VARIABLE} to the folder that holds {path.name}")
        return path

    return find


@pytest.fixture(scope="session")
def clips(speech_tar: Callable[[str], Path]) -> Callable[[str, int], list[Clip]]:
    """`clips("test-clean-00", 3)` decodes three clips of that tar, always the same ones, once per run."""

    @cache
    def decode(name: str, limit: int) -> list[Clip]:
        return list(SpeechTar(speech_tar(name)).clips(limit))

    return decode


@pytest.fixture(scope="session")
def spoken(clips: Callable[[str, int], list[Clip]]) -> np.ndarray:
    """A minute and more of real speech, several speakers, float32 at 16 kHz."""
    return np.concatenate([clip.samples for clip in clips("dev-00", 6)])


@pytest.fixture(scope="session")
def model():  # type: ignore[no-untyped-def]
    """Whisper base with the adapter that comes with it, in float32."""
    from voicewire.asr.adapters import load_adapter
    from voicewire.asr.model import CausalWhisper
    from voicewire.asr.weights import load_checkpoint

    checkpoint = load_checkpoint("base")
    return CausalWhisper.from_state(
        checkpoint.dims, load_adapter("default", checkpoint).merge(checkpoint.state)
    )
