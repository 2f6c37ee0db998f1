"""What streams leave behind in a recogniser: nothing that another one hears, and nothing that grows."""

import gc
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from voicewire.asr.attention import POSITIONS, attend
from voicewire.asr.batch import BatchTranscriber
from voicewire.asr.child import _environment
from voicewire.asr.compiled import CAPACITIES
from voicewire.asr.events import Event, Flushed
from voicewire.asr.settings import StreamSettings

ROOM = 150  # positions of a slot, no multiple of POSITIONS

# A process that attends to 2000 lengths and counts what it has grown by meanwhile, in MiB.
GROWS = """
import psutil, torch
from voicewire.asr.model import CausalWhisper
def product(rows, length):
    torch.ones(8, rows, 64, dtype=torch.bfloat16) @ torch.ones(8, 64, length, dtype=torch.bfloat16)
def resident():
    return psutil.Process().memory_info().rss / 2**20
for length in range(1, 201):
    product(1, length)
before = resident()
for rows in range(2, 7):
    for length in range(1, 401):
        product(rows, length)
print(resident() - before)
"""


@pytest.fixture(scope="module")
def batch() -> BatchTranscriber:
    return BatchTranscriber.load("tiny.en", slots=2, adapter="none", device="cpu", precision="float32")


def hear(batch: BatchTranscriber, samples: np.ndarray) -> list[Event]:
    """A stream from beginning to end."""
    slot = batch.open(StreamSettings())
    batch.push(slot, samples)
    batch.flush(slot)
    events: list[Event] = []
    while not any(isinstance(event, Flushed) for event in events):
        events += batch.step().get(slot, [])
    batch.close(slot)
    return events


@given(used=st.integers(1, ROOM), rows=st.integers(1, 5), seed=st.integers(0, 99), masked=st.booleans())
@settings(deadline=None)
def test_attention_is_to_what_is_in_use(used: int, rows: int, seed: int, masked: bool) -> None:
    torch.manual_seed(seed)
    queries, keys, values = (
        torch.randn(2, *shape, dtype=torch.float64) for shape in ((rows, 8), (8, ROOM), (ROOM, 8))
    )
    mask = torch.randn(rows, used, dtype=torch.float64) if masked else torch.zeros(rows, used)
    expected = torch.softmax(queries @ keys[:, :, :used] + mask, -1)
    keys[:, :, used:] = float("nan")
    mixed, weights = attend(queries, keys, values, used, mask if masked else None)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-12)
    both = (expected @ values[:, :used]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mixed, both, rtol=0, atol=1e-12)


class Shapes(TorchDispatchMode):
    """Collects the shapes of products of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[torch.Size, torch.Size]] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if function is torch.ops.aten.bmm.default:
            self.seen.add((args[0].shape, args[1].shape))
        return function(*args, **kwargs or {})


def test_streams_of_any_length_meet_few_shapes() -> None:
    with Shapes() as shapes:
        for rows, used in product((1, 2), range(1, ROOM + 1)):
            attend(torch.zeros(2, rows, 8), torch.zeros(2, 8, ROOM), torch.zeros(2, ROOM, 8), used)
    assert len(shapes.seen) == 2 * 2 * -(-ROOM // POSITIONS)


def test_a_stream_hears_nothing_of_the_one_before_it(batch: BatchTranscriber, spoken: np.ndarray) -> None:
    samples = spoken[:64_000]
    first = hear(batch, samples)
    for tensor in vars(batch.slots).values():
        tensor.fill_(float("nan"))
    assert hear(batch, samples) == first


def test_streams_that_are_closed_leave_no_objects(batch: BatchTranscriber, spoken: np.ndarray) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        objects = gc.get_objects()
        return len(objects), sum(issubclass(type(each), torch.Tensor) for each in objects)

    def many(count: int) -> None:
        for _ in range(count):
            batch.close(batch.open(StreamSettings()))
        hear(batch, spoken[:32_000])

    many(10)
    objects, tensors = held()
    many(1000)
    more_objects, more_tensors = held()
    assert more_tensors == tensors
    assert more_objects - objects < 100


def test_what_is_compiled_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    own = _environment(1)
    assert own["LRU_CACHE_CAPACITY"] == "7"  # whoever runs it knows better
    assert own["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == CAPACITIES["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]


def test_products_of_ever_new_shapes_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CAPACITIES:
        monkeypatch.delenv(name, raising=False)
    outcome = subprocess.run([sys.executable, "-c", GROWS], capture_output=True, text=True, check=True)
    assert float(outcome.stdout) < 20
