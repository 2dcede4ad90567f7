"""What performance is promised, measured: `python -m benchmarks`, or `make bench`."""
