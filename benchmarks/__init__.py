"""Measurements: accuracy, latency, long streams. Run as `python -m benchmarks.NAME --help`."""
