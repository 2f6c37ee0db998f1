"""Measurements: accuracy, noise, latency, the two traded off, long streams, other systems, codecs, packed layers.

Run as `python -m benchmarks.NAME --help`.
"""

import os

# Before torch is imported: OpenMP's idle threads spin, which costs processor time and counts as computing.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
