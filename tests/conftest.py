"""Fixtures for all tests, and which of them run in one process."""

import os
from typing import Any

import pytest

# Before anything loads torch, which asks once. Tests run side by side, a process for each core: a second
# thread in each would only wait for a core. And where sums are split among threads, their last digits hang on
# how many there are, which would be another number on every machine. A count that is given stays.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["cluster_fixtures", "marked_only"]
collect_ignore = ["vllm"]  # which run with other packages, by `make test-vllm`

TOGETHER = {
    "engines/test_tensor_parallel.py": "ranks",
    "engines/test_tensor_parallel_failures.py": "ranks",
    "engines/test_public_checkpoint.py": "public checkpoint",
    "models/test_nano_model.py": "nano",
    "learn/test_pipeline.py": "recordings",
    "fetch/test_fetch_s3.py": "object store",
    "bench/test_plots.py": "plots",
    "engines/test_lora.py": "adapters",
}
"""Files whose fixtures take long to make, by a name for what they share."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process makes what is dear, once, and begins with that; all else goes to who is free."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0].removeprefix("tests/")
            return TOGETHER.get(file, nodeid)

    return Together(config, log)
