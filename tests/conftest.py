"""Fixtures for all tests."""

import os

# Before anything loads torch, which asks once. Tests run side by side, a process for each core: a second
# thread in each would only wait for a core. And where sums are split among threads, their last digits hang on
# how many there are, which would be another number on every machine. A count that is given stays.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["cluster_fixtures"]
