"""The operator with a fleet: `python -m benchmarks.operator`."""
