"""Every baseline answers on a real engine, side by side with others, and starts what it may and no more."""

from collections.abc import Callable
from typing import Any

import pytest
from controllable_inference.bench.systems import gate_systems, oracle_systems, plain_systems
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import (
    AdaptiveConsistency,
    BestOfN,
    DeepConf,
    EarlyStopping,
    GivenPrediction,
    LogProbPruning,
    MajorityVote,
    OnlineDeepConf,
    Oracle,
    RandomPruning,
    ScorePruning,
    SelfTruncation,
    ShortestPruning,
    ShortM,
    StepScores,
    WeightedVote,
)
from controllable_inference.core.baselines.weighing import column
from controllable_inference.core.controller import Controller, GatedController
from controllable_inference.core.request import RequestBudget, SamplingParams

CAP = 80
PLENTY: dict[str, Any] = {"max_rows": 1024, "max_step_tokens": 4096, "kv_blocks": 1280}


def gate(features: Any) -> Any:
    return column(features, "path_logprob").exp()


@pytest.fixture
def asked(stepped: Any) -> Callable[..., list[Any]]:
    """`asked(controller, requests)`: the results of that many requests that run side by side."""

    def ask(controller: Controller, requests: int = 5, budget: Any = None, **config: Any) -> list[Any]:
        engine = stepped(controller, **{**PLENTY, **config})
        submitted = [
            engine.submit("1+2=", SamplingParams(seed=n, temperature=1.2), budget) for n in range(requests)
        ]
        engine.run()
        return [request.result for request in submitted]

    return ask


def fates(result: Any) -> set[tuple[str, str]]:
    return {(path.fate, path.reason) for path in result.paths}


def votes(result: Any) -> list[str | None]:
    return [path.answer if path.fate == "kept" else None for path in result.paths]


def test_adaptive_consistency_runs_one_path_after_another_and_no_more_than_allowed(asked):
    results = asked(AdaptiveConsistency(5, 0.95, token_cap=CAP))
    assert all(1 <= r.usage.paths_started <= 5 for r in results)
    assert all(r.usage.paths_stopped == r.usage.paths_pruned == 0 for r in results)
    first = asked(MajorityVote(5, CAP))
    for apart, together in zip(results, first, strict=True):
        own = [path.text for path in apart.paths]
        assert own == [path.text for path in together.paths[: len(own)]]


def test_a_threshold_that_one_answer_reaches_ends_at_the_first_answer(asked):
    for result in asked(AdaptiveConsistency(5, 0.75, token_cap=CAP)):
        *before, last = votes(result)
        assert before == [None] * len(before)
        assert last is not None or result.usage.paths_started == 5


def test_the_same_rule_with_several_at_once_stops_the_rest(asked):
    results = asked(AdaptiveConsistency(6, 0.75, at_once=3, token_cap=CAP))
    assert all(r.usage.paths_started <= 6 for r in results)
    assert {("stopped", "settled")} & set().union(*map(fates, results))


def test_esc_runs_whole_windows(asked):
    results = asked(EarlyStopping(7, 3, CAP))
    assert {r.usage.paths_started for r in results} <= {3, 6, 7}
    assert 7 in {r.usage.paths_started for r in results}  # a random model rarely agrees with itself


def test_a_limit_on_paths_at_once_holds_and_the_windows_stay(asked):
    results = asked(EarlyStopping(6, 3, CAP), budget=RequestBudget(max_paths=2))
    assert {r.usage.paths_started for r in results} <= {3, 6}


def test_deepconf_weighs_votes(asked):
    for result in asked(DeepConf(4, 50, token_cap=CAP)):
        assert result.usage.paths_finished == 4
        assert 0 <= result.confidence <= 1


def test_deepconf_online_cuts_paths_after_the_warm_up_and_starts_others(asked):
    results = asked(OnlineDeepConf(10, 10, warmup=3, token_cap=CAP), requests=16)
    assert all(3 <= r.usage.paths_started <= 10 for r in results)
    cut = [p for r in results for p in r.paths if p.fate == "pruned"]
    assert cut
    assert all(p.reason == "confidence" and p.index >= 3 for p in cut)
    assert all(p.fate == "kept" for r in results for p in r.paths[:3])


@pytest.mark.parametrize(
    "controller",
    [
        LogProbPruning(8, 0.5, after=1, token_cap=CAP),
        RandomPruning(8, 0.5, after=1, token_cap=CAP),
        ScorePruning(gate, 8, 0.5, "mean", after=1, token_cap=CAP),
        ScorePruning(gate, 8, 0.5, "latest", after=1, token_cap=CAP),
        ShortestPruning(8, 0.5, CAP),
    ],
    ids=lambda controller: type(controller).__name__,
)
def test_pruning_drops_its_share_at_most(asked, controller):
    results = asked(controller, 16)
    assert all(r.usage.paths_pruned <= 4 for r in results)
    assert sum(r.usage.paths_pruned for r in results) >= 3
    assert all(r.usage.paths_pruned + r.usage.paths_finished == 8 for r in results)


def test_random_pruning_is_the_same_whatever_runs_beside_it(asked, stepped):
    controller = RandomPruning(8, 0.5, after=1, token_cap=CAP)
    crowd = asked(controller, 16)[3]
    engine = stepped(controller)
    alone = engine.submit("1+2=", SamplingParams(seed=3, temperature=1.2))
    engine.run()
    assert [p.fate for p in alone.result.paths] == [p.fate for p in crowd.paths]


def test_short_m_stops_when_m_have_answered(asked):
    for result in asked(ShortM(6, 2, CAP)):
        answered = [a for a in votes(result) if a is not None]
        assert len(answered) >= 2 or result.usage.paths_finished == 6


def test_a_full_memory_prunes_by_step_score(asked):
    results = asked(StepScores(gate, 8, memory=100, token_cap=CAP))
    assert ("pruned", "memory") in set().union(*map(fates, results))
    results = asked(StepScores(gate, 8, threshold=0.9, min_steps=1, token_cap=CAP))
    assert ("pruned", "step_score") in set().union(*map(fates, results))


def test_self_truncation_lets_one_path_go_on(asked):
    results = asked(SelfTruncation(6, 1, CAP), 16)
    truncated = [r for r in results if ("pruned", "distance") in fates(r)]
    assert truncated
    assert all(r.paths for r in results)


def test_a_gate_weighs_and_picks(asked):
    for controller in (WeightedVote(gate, 4, CAP), BestOfN(gate, 4, CAP)):
        assert all(r.usage.paths_finished == 4 for r in asked(controller))


def test_a_given_budget_takes_the_place_of_the_inner_controllers(asked):
    wide = GivenPrediction(GatedController(BudgetRule(4, CAP, 8), gate, threshold=None), 1.5)
    assert all(r.usage.paths_started == 6 and r.usage.coefficient == 1.5 for r in asked(wide, 3))


def test_the_oracle_stops_at_the_first_answer_it_likes(asked):
    for at_once in (1, 4):
        for result in asked(Oracle(lambda answer: True, 4, at_once, CAP)):
            assert sum(a is not None for a in votes(result)) >= 1 or result.usage.paths_started == 4
            assert at_once == 4 or sum(a is not None for a in votes(result)) <= 1


def test_every_listed_system_answers(stepped):
    systems = [
        *plain_systems(40, paths=6),
        *gate_systems(gate, 40, paths=6),
        *oracle_systems(lambda question, answer: len(answer) > 3, 40, paths=6),
    ]
    assert len({system.name for system in systems}) == len(systems)
    engine = stepped(MajorityVote(1, 40), **PLENTY, max_concurrent_requests=256)
    asked = [
        engine.submit(
            "1+2=",
            SamplingParams(seed=7, temperature=system.temperature),
            controller=system.controller_for("1+2="),
        )
        for system in systems
    ]
    engine.run()
    for system, request in zip(systems, asked, strict=True):
        assert request.kinds[-1] == "done", (system.name, request.events[-1])
        assert 1 <= request.result.usage.paths_started <= 6, system.name
