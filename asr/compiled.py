"""How much oneDNN, which multiplies on a CPU, may keep of what it compiles for each shape of a product.

Shapes change from look to look and from batch to batch. Left alone, oneDNN keeps 1024 programs, and torch beside
it 1024 descriptions, a quarter of a megabyte each and more: 0.7 GB, which fill over hours (tests/test_memory.py).
"""

from collections.abc import MutableMapping

# Of oneDNN's programs, and of torch's descriptions of them in each thread. A batch of 12 streams is as fast with
# 64 of each as with 128 (54 ms of processor time per second of audio, and 55), and takes 120 MiB less.
CAPACITIES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


def bound_compiled(environment: MutableMapping[str, str]) -> None:
    """Sets what an environment does not set itself; it is heeded by the first product of a process."""
    for name, capacity in CAPACITIES.items():
        environment.setdefault(name, capacity)
