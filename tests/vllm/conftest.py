"""Fixtures of the tests on vLLM. They run with vLLM's own packages, as `make test-vllm` starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# The models are tiny: a second thread costs more than it computes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(ROOT))

from chains import NANO  # noqa: E402
from controllable_inference.engines.limits import EngineLimits  # noqa: E402
from controllable_inference.learn.problems import Problem, Split, draw_split  # noqa: E402
from controllable_inference.model import ControllableInference  # noqa: E402

LIMITS = EngineLimits(kv_blocks=2000, max_rows=128)


@pytest.fixture(scope="session")
def on_vllm() -> Iterator[ControllableInference]:
    """nano on vLLM, for all tests: it takes a while to load, and a process has one."""
    with ControllableInference.from_pretrained(NANO, engine="vllm", limits=LIMITS) as model:
        yield model


@pytest.fixture(scope="session")
def native() -> Iterator[ControllableInference]:
    with ControllableInference.from_pretrained(NANO, engine="native", limits=LIMITS) as model:
        yield model


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    """Test problems of families that nano answers, the same ones every time."""
    families = ("gcd", "chain_sum", "count_bits", "base_conversion")
    return draw_split(Split.TEST, 60, 7, [(family, level) for family in families for level in (0, 1)])
