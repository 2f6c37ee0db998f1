"""A node of Ray for a file of tests: nothing of it is seen outside, and nothing is asked outside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Before Ray is imported. No report to its makers, no token in the user's home, no worker before it is needed.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # A busy machine is slow to bring up a process, and starves what is as nice as Ray's workers are by default.
    "RAY_worker_niceness": "0",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'voicewire[ray]'")

# What Ray starts on this node at one time: replicas, or workers, of one processor each, however many there are.
PROCESSORS = 3


@contextmanager
def node() -> Iterator[None]:
    """It ends with the block: whoever meets Ray's processes below its own later may take them for its own."""
    ray.init(
        num_cpus=PROCESSORS,
        object_store_memory=200 * 1024**2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()
