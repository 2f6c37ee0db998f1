"""Measurements: accuracy, noise, latency, the tradeoff of the two, long streams, other systems, packed layers, codecs.

Run as `python -m benchmarks.NAME --help`.
"""

import os

# Before torch is imported: OpenMP's idle threads spin, which costs processor time and counts as computing.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
