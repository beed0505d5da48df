"""The same controller decides the same on vLLM as on the native engine, given the same chains."""

from __future__ import annotations

import pytest
from chains import NANO, ask, native_writes, record, vllm_writes
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.config import ControlConfig, ControlSettings
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.load import load_controller

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]

PATHS = 8
PROBLEMS = 60


def fates(results):
    """What was decided of each path, and the vote."""
    return [
        (
            [(p.index, p.fate, p.reason, p.tokens, p.steps, p.closed, p.answer_key) for p in result.paths],
            result.answer,
            {answer: round(weight, 3) for answer, weight in result.votes.items()},
        )
        for result in results
    ]


@pytest.fixture(scope="module")
def asked(problems):
    return problems[:PROBLEMS]


@pytest.fixture(scope="module")
def chains(native, asked):
    return record(native, asked, MajorityVote(16, 700))


def shipped(**control):
    return load_controller(NANO, ControlConfig.load(NANO), ControlSettings.parse(control), 192, thinks=True)


@pytest.mark.parametrize(
    ("controller", "budget"),
    [
        (shipped(), {}),
        (shipped(policy={"enabled": False}), {"paths": PATHS}),
        (shipped(), {"thinking_tokens": 40}),
        (EarlyExit(shipped(policy={"enabled": False}), patience=2, give_up=6), {"paths": 2}),
    ],
    ids=["shipped", "gate without policy", "thinking budget", "early exit"],
)
def test_decisions_and_votes_are_those_of_the_native_engine(
    native, on_vllm, asked, chains, controller, budget
):
    with native_writes(chains):
        expected = fates(ask(native, asked, controller, **budget))
    with vllm_writes(on_vllm, chains):
        found = fates(ask(on_vllm, asked, controller, **budget))
    differing = [
        (number, *pair) for number, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1]
    ]
    assert not differing, f"{len(differing)} of {len(asked)} differ, the first: {differing[0]}"
    decided = {fate for paths, *_ in expected for _, fate, *_ in paths}
    assert len(decided) > 1 or budget.get("thinking_tokens") or budget["paths"] == 2
