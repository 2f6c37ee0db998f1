"""A network of Lyra's at work for any number of streams, one frame of each at a time."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter

Shape = tuple[int, ...]

# A run serves so many streams, no more and no fewer. What comes out does not depend on which run served a stream.
BLOCKS = (8, 1)


class Memory:
    """What the streams of a network remember: float32, of shape (slots, ...), one array for each layer.

    Args:
        shapes: of what one stream remembers.
        slots: how many streams there may be.
    """

    def __init__(self, shapes: Iterable[Shape], slots: int) -> None:
        self.layers = [np.zeros((slots, *shape), np.float32) for shape in shapes]

    @property
    def slot_bytes(self) -> int:
        """The size of what one stream remembers."""
        return sum(layer[:1].nbytes for layer in self.layers)

    def clear(self, slot: int) -> None:
        for layer in self.layers:
            layer[slot] = 0

    def to_bytes(self, slot: int) -> bytes:
        return b"".join(layer[slot].tobytes() for layer in self.layers)

    def from_bytes(self, slot: int, data: bytes) -> None:
        """Takes what `to_bytes` gave: `slot_bytes` of them."""
        values = np.frombuffer(data, np.float32)
        for layer in self.layers:
            size = layer[slot].size
            layer[slot], values = values[:size].reshape(layer[slot].shape), values[size:]


class Network:
    """A rewritten graph, in one size for each of `BLOCKS`. Threads may share it: they wait for each other.

    Args:
        build: gives the TFLite file that serves so many streams.

    Attributes:
        remembers: the shapes of what one stream remembers.
    """

    def __init__(self, build: Callable[[int], bytes]) -> None:
        self._runs = {streams: _Run(build(streams)) for streams in BLOCKS}
        self._lock = threading.Lock()
        self.remembers: list[Shape] = self._runs[1].remembers

    def frames(self, given: Mapping[int, np.ndarray], memory: Memory) -> dict[int, np.ndarray]:
        """All frames of each slot, (frames, ...), one after the other; slots side by side."""
        made: dict[int, list[np.ndarray]] = {slot: [] for slot in given}
        for frame in range(max(map(len, given.values()), default=0)):
            slots = [slot for slot, frames in given.items() if frame < len(frames)]
            rows = self.rows(np.stack([given[slot][frame] for slot in slots]), memory, slots)
            for slot, row in zip(slots, rows, strict=True):
                made[slot].append(row)
        return {slot: np.stack(rows) if rows else self.nothing for slot, rows in made.items()}

    def rows(self, given: np.ndarray, memory: Memory | None = None, slots: Sequence[int] = ()) -> np.ndarray:
        """One frame of each of these slots, (slots, ...), or any rows where the network remembers nothing.

        The memory may have more layers behind those of the network.
        """
        layers = memory.layers[: len(self.remembers)] if memory is not None else []
        made, done = [self.nothing], 0
        with self._lock:
            for streams, run in self._runs.items():
                while len(given) - done >= streams:
                    part = slice(done, done + streams)
                    made.append(run(given[part], layers, _index(slots[part])))
                    done += streams
        return np.concatenate(made)

    @property
    def nothing(self) -> np.ndarray:
        """What comes out where nothing went in."""
        return self._runs[1].nothing


class _Run:
    """One interpreter: a fixed number of streams, one frame of each."""

    def __init__(self, data: bytes) -> None:
        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()
        first, *before = self._interpreter.get_input_details()
        made, *after = self._interpreter.get_output_details()
        self._first, self._made = first["index"], made["index"]
        self._shape = tuple(first["shape"])
        self._pasts = [(one["index"], other["index"]) for one, other in zip(before, after, strict=True)]
        self.remembers = [tuple(map(int, one["shape"][1:])) for one in before]
        self.nothing = np.zeros((0, *made["shape"][1:]), made["dtype"])

    def __call__(self, given: np.ndarray, layers: list[np.ndarray], slots: slice | list[int]) -> np.ndarray:
        interpreter = self._interpreter
        interpreter.set_tensor(self._first, given.reshape(self._shape))
        for (before, _), layer in zip(self._pasts, layers, strict=True):
            interpreter.set_tensor(before, layer[slots])
        interpreter.invoke()
        for (_, after), layer in zip(self._pasts, layers, strict=True):
            layer[slots] = interpreter.get_tensor(after)
        made: np.ndarray = interpreter.get_tensor(self._made)
        return made


def _index(slots: Sequence[int]) -> slice | list[int]:
    """A slice where they follow one another: several times faster than a list."""
    if slots and list(slots) == list(range(slots[0], slots[0] + len(slots))):
        return slice(slots[0], slots[0] + len(slots))
    return list(slots)
