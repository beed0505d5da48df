import pytest
import torch
from controllable_inference.bench import flops, sweep
from controllable_inference.bench.flops import ModelShape
from controllable_inference.bench.measure import FIELDS, Measured, measure
from controllable_inference.bench.sweep import Control, Group, PruneBelow, probability_of
from controllable_inference.bench.systems import System
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.config import GateConfig
from controllable_inference.core.controller import GatedController
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.policy import STATE, Outlay, Policy, PolicyNet
from controllable_inference.core.views import PathView, Plan, Prune, RequestView
from controllable_inference.learn.records import PathRecord, ProblemRecord
from made_up import measured, seen

SHAPE = ModelShape(hidden=8, layers=1, heads=1, kv_heads=1, head_dim=8, intermediate=16, vocabulary=10)


def first_column(features):
    return features[:, 0]


def path(answer, scores, tokens, right):
    """Steps of ten tokens; what a gate sees is its score, then empty statistics."""
    boundaries = [10 * (n + 1) for n in range(len(scores))]
    features = torch.zeros(len(scores), 1 + len(STATISTICS))
    features[:, 0] = torch.tensor(scores)
    return PathRecord(tokens, boundaries, features, answer, right)


RECORD = ProblemRecord(
    "gcd",
    1,
    "?",
    torch.zeros(7, 4),
    [path("4", [0.9, 0.9], 25, True), path("5", [0.4, 0.1], 35, False), path("4", [0.7, 0.8], 28, True)],
    [path("9", [], 3, False)],
)
CONTROL = Control(GatedController(BudgetRule(3, 99, 3), first_column), {}, {}, first_column, None, None)


def figures(systems, score=None, gate_dim=0):
    found = measure([RECORD], [Group(systems, score, gate_dim)], CONTROL, SHAPE)
    return lambda system, field: found.of(system, field)[0], found


def test_a_system_is_measured_by_what_its_paths_came_to():
    of, found = figures([System("SC@3", MajorityVote(3)), System("SC@1", MajorityVote(1))])
    assert [of("SC@3", f) for f in ("right", "tokens", "chain", "started")] == [1, 88, 35, 3]
    assert of("SC@3", "flops") == flops.request(SHAPE, 7, [25, 35, 28])
    assert of("SC@3", "control_flops") == 0
    assert of("SC@1", "tokens") == 25
    (problem,) = found.problems
    assert problem.prompt_tokens == 7
    assert problem.pass_rate == pytest.approx(2 / 3)
    assert problem.fast_right is False
    assert problem.paths[1].probabilities == pytest.approx((0.4, 0.1), abs=1e-3)


def test_a_gate_is_paid_for_at_the_boundaries_that_paths_reached():
    pruner = PruneBelow(first_column, 3, 0.5, min_keep=1, min_steps=1, token_cap=99)
    of, _ = figures([System("gate", pruner)], first_column, gate_dim=40)
    assert of("gate", "pruned") == 1
    assert of("gate", "tokens") == 25 + 10 + 28
    assert (of("gate", "all_right"), of("gate", "kept_right")) == (2, 2)
    assert of("gate", "control_flops") == flops.gate(40, boundaries=2 + 1 + 2)


def test_a_policy_is_paid_for_whenever_its_net_is_asked_and_not_else():
    """At steps that are no checkpoints the controller decides alone."""
    policy = Policy(PolicyNet(len(STATE), 8), Outlay(start_paths=3, at_once=3))
    asked = []
    choose = policy.choose
    policy.choose = lambda state: asked.append(state) or choose(state)
    controller = GatedController(BudgetRule(3, 99, 3), first_column, threshold=None, policy=policy)
    of, _ = figures([System("policy", controller)], first_column)
    assert 0 < len(asked) < len({10, 20, 25, 28, 30, 35})
    assert of("policy", "control_flops") == flops.linear(policy.net, len(asked))


def test_portions_join_in_the_order_of_their_numbers():
    portions = [
        ([2, 0], measured(seen([0.5, 1.0]), one={"tokens": [30, 10]})),
        ([1], measured(seen([0.25]), one={"tokens": [20]})),
    ]
    whole = Measured.join(portions)
    assert whole.of("one", "tokens").tolist() == [10, 20, 30]
    assert [problem.pass_rate for problem in whole.problems] == [1.0, 0.25, 0.5]
    assert whole.where([2]).of("one", "tokens").tolist() == [30]
    assert whole.outcomes.shape == (1, 3, len(FIELDS))


def running(index, score, steps=2):
    return PathView(index, "running", 20, steps, score, at_boundary=True)


def test_pruning_alone_drops_what_is_at_or_under_the_threshold_and_keeps_its_guard():
    view = RequestView(Plan(3, 99), (running(0, 0.2), running(1, 0.1), running(2, 0.9)))
    assert PruneBelow(first_column, 3, 0.2, 0, 2, 99).decide(view) == [Prune(1), Prune(0)]
    assert PruneBelow(first_column, 3, 0.2, 2, 2, 99).decide(view) == [Prune(1)]
    assert PruneBelow(first_column, 3, 0.2, 0, 3, 99).decide(view) == []


def test_the_probability_behind_a_score_is_what_the_promise_bent():
    gate = GateConfig(hidden_dim=1, promised_probability=0.06)
    of = probability_of(first_column, gate)
    assert of(torch.tensor([[0.3], [1.0], [0.15]])).tolist() == pytest.approx([0.06, 1.0, 0.03])
    plain = probability_of(first_column, GateConfig(hidden_dim=1))
    assert plain(torch.tensor([[0.4]])).tolist() == pytest.approx([0.4])


def test_a_model_without_a_gate_has_no_systems_that_need_one():
    names = {s.name for g in sweep.groups(CONTROL, 99, 16) for s in g.systems}
    assert "SC@16" in names
    assert not any(name.startswith(("STEP", "gate", "weighted")) for name in names)


def test_with_a_gate_every_system_has_a_name_of_its_own():
    shipped = GatedController(BudgetRule(16, 99, 16), first_column)
    control = Control(shipped, {"shipped": shipped}, {}, first_column, GateConfig(hidden_dim=1), None)
    names = [s.name for g in sweep.groups(control, 99, 16) for s in g.systems]
    assert len(set(names)) == len(names)
    assert {"shipped", "gate, pruning only, 0.3", "weighted SC@16"} <= set(names)
