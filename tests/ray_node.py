"""One node of Ray for the tests of a process: nothing of it is seen outside, and nothing is asked outside."""

import atexit
import os

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


def begin() -> None:
    """Starts the node, unless it is there already; it ends with the process."""
    if not ray.is_initialized():
        ray.init(
            num_cpus=PROCESSORS,
            object_store_memory=200 * 1024**2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        atexit.register(ray.shutdown)
