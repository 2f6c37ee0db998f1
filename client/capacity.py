"""How many Whispers this machine carries side by side."""

import contextlib
import os
from pathlib import Path

from voicewire.client.local import ModelChoice

# What a process needs beside its weights, and OpenAI's weights in float32; in GB.
_PROCESS_GB = 0.6
_WEIGHTS_GB = {"tiny": 0.15, "base": 0.29, "small": 0.97, "medium": 3.06, "large": 6.2, "turbo": 3.2}
# More of them wait for the machine's memory more than they compute.
_MOST = 16


def default_workers(choice: ModelChoice) -> int:
    """As many as there are cores for their threads and memory for their weights; one where there is a GPU."""
    if choice.device == "cuda" or (choice.device == "auto" and Path("/dev/nvidiactl").exists()):
        return 1
    count = cores() // (choice.threads or 1)
    memory_gb = _free_gb()
    if memory_gb is not None:
        # Twice: while it is loaded, a model lies in memory as it was stored, too.
        count = min(count, int(memory_gb / (_PROCESS_GB + 2 * _weights_gb(choice.model))))
    return max(1, min(count, _MOST))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _weights_gb(model: str) -> float:
    if Path(model).is_file():
        return 2 * Path(model).stat().st_size / 1e9
    return _WEIGHTS_GB.get(model.split(".")[0].split("-")[0], _WEIGHTS_GB["large"])


def _free_gb() -> float | None:
    """Memory that is free or can be freed, where the system says so."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1e6
    return None
