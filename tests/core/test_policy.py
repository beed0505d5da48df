"""The policy by itself, inside the shipped controller, and from its files."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.config import ControlConfig, ControlSettings, GateConfig, PolicyConfig
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.core.features import feature_dim
from controllable_inference.core.gate import PathGate
from controllable_inference.core.load import load_controller
from controllable_inference.core.policy import (
    ACTIONS,
    STATE,
    Guard,
    Outlay,
    Policy,
    PolicyNet,
    PolicyPlan,
    lead,
    obey,
    state_of,
    without,
)
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, PromptView, Prune, RequestView, Spawn, Stop
from controllable_inference.errors import ControlConfigError

RULE = BudgetRule(base_paths=16, base_tokens=100, max_paths=16)
GUARD = Guard(min_keep=2, min_steps=2)


def finished(index: int, answer: str | None, score: float | None = 0.9, tokens: int = 40) -> PathView:
    return PathView(index, "kept", tokens, 3, score, answer=answer, key=answer)


def running(index: int, score: float | None, tokens: int = 30, steps: int = 3, at: bool = False) -> PathView:
    return PathView(index, "running", tokens, steps, score, at_boundary=at)


def request(
    *paths: PathView,
    total: int = 16,
    at_once: int = 8,
    time_left: float | None = None,
    deadline: float | None = None,
) -> RequestView:
    plan = PolicyPlan(2, 100, max_paths=at_once, total=total, deadline=deadline)
    return RequestView(plan, paths, time_left)


def weight(path: PathView) -> float:
    return 1.0 if path.score is None else path.score


def state(*paths: PathView, **more: Any) -> dict[str, float]:
    values = state_of(request(*paths, **more), weight)
    assert all(math.isfinite(value) for value in values)
    return dict(zip(STATE, values, strict=True))


def always(action: str, outlay: Outlay | None = None) -> Policy:
    """A policy that wants the same whatever it sees."""
    net = PolicyNet(len(STATE), 4)
    with torch.no_grad():
        net.net[-1].weight.zero_()
        net.net[-1].bias.copy_(torch.tensor([float(name == action) for name in ACTIONS]))
    return Policy(net, outlay or Outlay())


def controller(policy: Policy, **options: Any) -> GatedController:
    return GatedController(RULE, confidence_rank, policy=policy, **options)


# the state


def test_the_state_tells_how_the_vote_stands_in_count_weight_and_odds():
    seen = state(finished(0, "4", 0.8), finished(1, "5", 0.6), finished(2, "4", 0.5), finished(3, None))
    assert seen["voters"] == 3 / 8
    assert seen["answers"] == 2 / 4
    assert (seen["leader_votes"], seen["vote_margin"]) == (2 / 8, 1 / 8)
    assert seen["leader_share"] == pytest.approx(2 / 3)
    assert seen["lead_probability"] == lead(2, 1)
    assert seen["leader_weight"] == pytest.approx(1.3 / 8)
    assert seen["weight_margin"] == pytest.approx(0.7 / 8)
    assert seen["weight_share"] == pytest.approx(1.3 / 1.9)
    assert seen["leader_odds"] == pytest.approx(math.log(4) / 8)  # 0.5 is even odds
    assert seen["odds_margin"] == pytest.approx((math.log(4) - math.log(1.5)) / 8)
    assert (seen["leader_best"], seen["others_best"]) == (0.8, 0.6)
    assert seen["leader_mean"] == pytest.approx(0.65)
    assert seen["finished_mean"] == pytest.approx(1.9 / 3)


def test_the_state_tells_what_runs_and_what_is_left_to_spend():
    seen = state(
        finished(0, "4", tokens=40),
        running(1, 0.7, tokens=60),
        running(2, 0.2, tokens=50),
        running(3, None, tokens=10),
        replace(running(4, 0.1, tokens=20), state="pruned"),
        time_left=3.0,
        deadline=12.0,
    )
    assert (seen["running"], seen["unscored"], seen["pruned"]) == (3 / 8, 1 / 8, 1 / 16)
    assert (seen["running_best"], seen["running_worst"]) == (0.7, 0.2)
    assert seen["running_mean"] == pytest.approx(0.45)
    assert seen["progress"] == 60 / 40
    assert (seen["started"], seen["left"], seen["room"]) == (5 / 16, 11 / 16, 5 / 8)
    assert seen["tokens"] == 180 / 400
    assert seen["coefficient"] == 0.5
    assert seen["time_left"] == 0.25


def test_at_the_beginning_there_is_nothing_to_measure():
    seen = state(running(0, None, tokens=1, steps=0), running(1, None, tokens=1, steps=0))
    there = ("running", "unscored", "started", "left", "room", "tokens")
    empty = [name for name in STATE if name not in there]
    assert {name: seen[name] for name in empty} == dict.fromkeys(empty, 0.0) | {
        "coefficient": 0.5,
        "time_left": 1.0,
    }


def test_the_leader_is_the_one_that_the_vote_would_choose():
    tied = request(finished(0, "4", 0.6), finished(1, "5", 0.9), finished(2, "4", 0.3))
    leader = controller(always("stop"), weight=float).answer(tied).winner
    assert leader == 1  # 0.9 each way; the better path decides
    assert dict(zip(STATE, state_of(tied, weight), strict=True))["leader_best"] == 0.9


def test_lead_is_the_beta_probability_of_adaptive_consistency():
    assert [lead(n, 0) for n in (1, 2, 3)] == [0.75, 0.875, 0.9375]
    assert lead(3, 3) == 0.5


# from what the net wants to what is done


@pytest.mark.parametrize(
    ("action", "paths", "decisions"),
    [
        ("continue", (finished(0, "4"), running(1, 0.5)), []),
        ("continue", (finished(0, "4"),), [Stop("policy")]),  # nothing is left to wait for
        ("stop", (finished(0, "4"), running(1, 0.5)), [Stop("policy")]),
        ("stop", (finished(0, None), running(1, 0.5)), []),  # there is nothing to vote on yet
        ("stop", (finished(0, None),), [Spawn(1)]),
        ("prune", (running(0, 0.5), running(1, 0.2), running(2, None)), [Prune(1, "policy")]),
        ("prune", (finished(0, "4"), running(1, 0.2)), []),  # that would be to stop
        ("prune", (running(0, None), running(1, None)), []),
        ("spawn_1", (finished(0, "4"), running(1, 0.5)), [Spawn(1)]),
        ("spawn_4", (finished(0, "4"),), [Spawn(4)]),
    ],
)
def test_what_an_action_comes_to(action, paths, decisions):
    assert obey(action, request(*paths), GUARD) == decisions


def test_nothing_is_started_beyond_the_plan():
    few_left = request(finished(0, "4"), finished(1, "5"), total=3)
    assert obey("spawn_8", few_left, GUARD) == [Spawn(1)]
    no_room = request(finished(0, "4"), running(1, 0.5), running(2, 0.5), at_once=2)
    assert obey("spawn_1", no_room, GUARD) == []
    none_left = request(finished(0, "4"), finished(1, "5"), total=2)
    assert obey("spawn_1", none_left, GUARD) == [Stop("policy")]


def test_nothing_is_started_at_a_boundary_while_something_runs():
    assert obey("spawn_1", request(running(0, 0.5, at=True), running(1, 0.5)), GUARD) == []
    pruned = replace(running(0, 0.1, at=True), state="pruned")
    assert obey("spawn_1", request(finished(1, "4"), pruned), GUARD) == [Spawn(1)]


def test_pruning_can_be_forbidden():
    assert obey("prune", request(running(0, 0.5), running(1, 0.2), running(2, 0.5)), None) == []


def test_pruning_keeps_to_the_guard():
    three = (running(0, 0.5), running(1, 0.2), running(2, 0.4))
    assert obey("prune", request(*three), Guard(min_keep=3, min_steps=2)) == []
    assert obey("prune", request(finished(3, "4"), *three), Guard(3, 2)) == [Prune(1, "policy")]
    young = (running(0, 0.5), running(1, 0.2, steps=1), running(2, 0.4))
    assert obey("prune", request(*young), GUARD) == [Prune(2, "policy")]


def test_it_is_asked_at_the_end_of_paths_and_at_checkpoints_only():
    policy = always("stop", Outlay(checkpoints=(4,)))
    for step, expected in ((3, []), (4, [Stop("policy")])):
        view = request(finished(0, "4"), running(1, 0.9, steps=step, at=True))
        assert policy.decide(view, weight, GUARD) == expected
    assert policy.decide(request(finished(0, "4"), running(1, 0.9)), weight, GUARD) == [Stop("policy")]


def test_the_choice_is_the_nets_and_the_first_of_equals():
    torch.manual_seed(0)
    net = PolicyNet(len(STATE), 8)
    policy = Policy(net, Outlay())
    states = torch.randn(50, len(STATE), dtype=torch.float64)
    wanted = net.double()(states).argmax(1)
    assert [ACTIONS.index(policy.choose(one)) for one in states.tolist()] == wanted.tolist()
    assert policy.choose_all(states.numpy()).tolist() == wanted.tolist()
    with torch.no_grad():
        net.net[-1].weight.zero_()
        net.net[-1].bias.zero_()
    assert Policy(net, Outlay()).choose([0.0] * len(STATE)) == ACTIONS[0]


# the plan


def laid_out(outlay: Outlay, predicted: float, rule: BudgetRule = RULE, **budget: Any) -> PolicyPlan:
    prompt = PromptView(5, None, 1000, budget.pop("sampling", SamplingParams()), RequestBudget(**budget))
    return outlay.lay_out(prompt, rule, predicted)


def test_a_predicted_coefficient_starts_more_paths_but_takes_none_away():
    outlay = Outlay(start_paths=2, at_once=6)
    assert [laid_out(outlay, c).paths for c in (0.3, 1.0, 1.6, 2.0)] == [2, 2, 3, 4]
    for c in (0.2, 0.3, 1.0):
        plan = laid_out(outlay, c)
        assert (plan.total, plan.max_paths, plan.token_cap, plan.mode) == (16, 6, 100, "slow")
        assert plan.coefficient == c


def test_a_low_prediction_may_leave_thinking_out():
    rule = replace(RULE, fast_threshold=0.1)
    assert laid_out(Outlay(), 0.05, rule).mode == "fast"
    assert laid_out(Outlay(), 0.05, rule).total == 1
    assert laid_out(Outlay(), 0.2, rule).mode == "slow"
    unable = laid_out(Outlay(), 0.05, replace(rule, can_be_fast=False))
    assert (unable.mode, unable.total) == ("slow", 16)


def test_a_clients_limits_win():
    outlay = Outlay(start_paths=4, at_once=8)
    assert laid_out(outlay, 1.0, coefficient=0.25).total == 4
    assert laid_out(outlay, 1.0, coefficient=0.25).paths == 1
    assert laid_out(outlay, 1.0, effort="none").mode == "fast"
    few = laid_out(outlay, 1.0, max_paths=3)
    assert (few.paths, few.max_paths, few.total, few.limited_by) == (3, 3, 3, "max_paths")
    assert laid_out(outlay, 1.0, max_tokens=20).token_cap == 20
    assert laid_out(outlay, 1.0, sampling=SamplingParams(temperature=0)).total == 1
    assert laid_out(outlay, 1.0, deadline=4.0).deadline == 4.0


def test_an_operators_limits_win():
    frugal = replace(RULE, max_paths=5, max_coefficient=0.5)
    plan = laid_out(Outlay(start_paths=4, at_once=8), 1.5, frugal)
    assert (plan.paths, plan.max_paths, plan.total) == (2, 5, 5)


# in the shipped controller


def test_the_gate_prunes_first_and_the_policy_sees_what_is_left():
    low = running(1, 0.1, at=True)
    view = request(finished(0, "4"), low, running(2, 0.1, steps=4, at=True))
    policy = always("stop", Outlay(checkpoints=(4,)))
    decided = controller(policy, threshold=0.3, min_keep=2).decide(view)
    assert decided == [Prune(1), Stop("policy")]


def test_a_vote_that_nothing_allowed_can_overturn_is_over():
    both = (finished(0, "4", 1.0), finished(1, "4", 1.0))
    going_on = controller(always("continue"), weight=float)
    assert going_on.decide(request(*both, running(2, 0.5), total=3)) == [Stop("decided")]
    assert going_on.decide(request(*both, running(2, 0.5), total=4)) == []  # one more could tie it


def test_a_vote_that_pruning_settles_is_over():
    view = request(finished(0, "4", 1.0), running(1, 0.2), running(2, 0.1), total=3)
    settled = controller(always("prune"), weight=lambda score: score).decide(view)
    assert settled == [Prune(2, "policy")]  # the last running path could still draw level
    heavier = request(finished(0, "4", 1.0), finished(1, "4", 1.0), running(2, 0.2), running(3, 0.1), total=4)
    assert controller(always("prune"), weight=float).decide(heavier) == [Prune(3, "policy"), Stop("decided")]


def test_a_deadline_that_has_passed_ends_the_request():
    view = request(finished(0, "4"), running(1, 0.5), time_left=0.0, deadline=1.0)
    assert controller(always("continue")).decide(view) == [Stop("deadline")]


def test_where_nothing_runs_and_nothing_may_start_there_is_nothing_to_say():
    assert controller(always("spawn_1")).decide(request(finished(0, "4"), finished(1, "5"), total=2)) == []


def test_no_more_rows_are_asked_for_than_may_run_at_once():
    assert controller(always("stop", Outlay(at_once=5))).most_paths == 5


def test_without_takes_out_what_was_pruned_and_leaves_the_rest_alone():
    view = request(running(0, 0.1, at=True), running(1, 0.9))
    assert without(view, [Spawn(2), Stop()]) is view
    assert [path.state for path in without(view, [Prune(0)]).paths] == ["pruned", "running"]


# from files


def saved(folder: Path, **changes: Any) -> None:
    torch.manual_seed(0)
    size = feature_dim(4)
    PathGate(size).save(folder / "gate.safetensors")
    PolicyNet(len(STATE), 8).save(folder / "policy.safetensors")
    policy = PolicyConfig(hidden_dim=8, state=list(STATE), actions=list(ACTIONS), start_paths=3, at_once=6)
    config = ControlConfig(gate=GateConfig(hidden_dim=size), policy=policy.model_copy(update=changes))
    config.save(folder)


def loaded(folder: Path, **settings: Any) -> GatedController:
    parsed = ControlSettings.parse(settings)
    return load_controller(folder, ControlConfig.load(folder), parsed, hidden_size=4, thinks=True)


def test_a_saved_policy_chooses_as_it_did(tmp_path):
    saved(tmp_path, threshold=0.4, checkpoints=[2, 4])
    policy = loaded(tmp_path).policy
    assert policy is not None
    assert policy.outlay == Outlay(3, 6, (2, 4))
    assert loaded(tmp_path).threshold == 0.4
    torch.manual_seed(0)
    PathGate(feature_dim(4))
    net = PolicyNet(len(STATE), 8)
    states = torch.randn(20, len(STATE))
    assert policy.choose_all(states.numpy()).tolist() == net(states).argmax(1).tolist()


def test_a_policy_reads_the_states_that_it_names_in_its_order(tmp_path):
    saved(tmp_path, state=["left", "voters"])
    PolicyNet(2, 8).save(tmp_path / "policy.safetensors")
    policy = loaded(tmp_path).policy
    assert policy is not None
    ours = [0.0] * len(STATE)
    ours[STATE.index("left")], ours[STATE.index("voters")] = 0.3, 0.7
    wanted = policy.net(torch.tensor([[0.3, 0.7]])).argmax(1)
    assert ACTIONS.index(policy.choose(ours)) == int(wanted)


def test_the_gates_threshold_and_an_operators_are_heeded(tmp_path):
    saved(tmp_path, threshold=0.1)
    assert loaded(tmp_path).threshold == 0.3
    assert loaded(tmp_path, pathPruning={"threshold": 0.2}).threshold == 0.2


def test_without_a_gate_there_is_no_policy(tmp_path):
    saved(tmp_path)
    control = json.loads((tmp_path / "control.json").read_text())
    (tmp_path / "control.json").write_text(json.dumps({**control, "gate": None}))
    assert loaded(tmp_path).policy is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": ["voters", "luck"]}, r"policy\.state: this version has no luck; .* Train the policy"),
        ({"actions": ["stop", "pray"]}, r"policy\.actions: this version has no pray"),
        ({"hidden_dim": 9}, r"policy\.safetensors does not hold the weights of a policy"),
        ({"weights": "gone.safetensors"}, r"gone\.safetensors is missing"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_with_what_to_do(tmp_path, changes, message):
    saved(tmp_path, **changes)
    with pytest.raises(ControlConfigError, match=message):
        loaded(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    saved(tmp_path)
    net = PolicyNet(len(STATE), 8)
    with torch.no_grad():
        net.net[0].bias[0] = math.nan
    net.save(tmp_path / "policy.safetensors")
    with pytest.raises(ControlConfigError, match="not finite"):
        loaded(tmp_path)
