"""What is replayed of a model: settings and ablations of what it ships with, each of which is another."""

import pytest
import torch
from controllable_inference.bench import sweep
from controllable_inference.bench.sweep import LOOKUP, POLICY_OFF, SHIPPED, Control
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.config import BudgetConfig, ControlConfig, GateConfig, PolicyConfig
from controllable_inference.core.features import feature_dim
from controllable_inference.core.gate import PathGate
from controllable_inference.core.policy import ACTIONS, STATE, PolicyNet
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, PromptView
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.replay import replay

HIDDEN = 4
GATE = GateConfig(hidden_dim=feature_dim(HIDDEN), threshold=0.3, promised_probability=0.1)
BUDGET = BudgetConfig(input_dim=HIDDEN, hidden_dim=3, base_tokens=99)
POLICY = PolicyConfig(
    hidden_dim=5, state=list(STATE), actions=list(ACTIONS), start_paths=2, at_once=8, threshold=0.4
)


@pytest.fixture
def control(tmp_path):
    """`control(policy=None)`: what a model ships with whose control has these parts."""
    torch.manual_seed(3)
    PathGate(GATE.hidden_dim).save(tmp_path / GATE.weights)
    BudgetPredictor(HIDDEN, BUDGET.hidden_dim).save(tmp_path / BUDGET.weights)
    PolicyNet(len(STATE), POLICY.hidden_dim).save(tmp_path / POLICY.weights)

    def load(**parts):
        ControlConfig(**{"gate": GATE, "budget": BUDGET, "policy": POLICY, **parts}).save(tmp_path)
        return Control.load(tmp_path, HIDDEN, thinks=True)

    return load


def finished(index, score):
    return PathView(index, "kept", 20, 2, score, answer="4", key="4")


def test_without_pruning_the_gate_still_weighs_votes_and_guides_the_policy(control):
    without = control().ablations["without pruning"]
    assert without.threshold is None
    assert without.policy is not None
    assert without.weigh(finished(0, 0.2)) < without.weigh(finished(1, 0.9))


def test_without_the_gate_nothing_is_scored_and_votes_are_equal(control):
    without = control().ablations["without gate"]
    assert without.threshold is None
    assert without.policy is None
    assert without.predictor is not None
    assert not without.needs_features
    assert without.weigh(finished(0, 0.2)) == without.weigh(finished(1, 0.9)) == 1


def test_without_the_policy_only_the_policy_is_gone(control):
    its = control()
    without = its.ablations["without policy"]
    assert without.policy is None
    assert without.threshold == its.shipped.threshold == POLICY.threshold
    assert without.predictor is not None
    assert without.weigh(finished(0, 0.2)) == its.shipped.weigh(finished(0, 0.2)) < 1


def test_without_the_budget_the_rest_stays(control):
    without = control().ablations["without budget"]
    assert without.predictor is None
    assert without.policy is not None
    assert without.threshold == POLICY.threshold


def test_only_what_a_model_has_is_taken_away(control):
    assert set(control(policy=None).ablations) == {
        "without pruning",
        "without gate",
        "without budget",
        "without gate and budget",
    }
    assert set(control(policy=None, budget=None).ablations) == {"without pruning", "without gate"}
    assert set(control(gate=None, policy=None).ablations) == {"without budget"}


def made_of(controller):
    """All that settings can change of a controller."""
    return controller.threshold, controller.rule, controller.policy is None, controller.predictor is None


@pytest.mark.parametrize("parts", [{}, {"policy": None}, {"gate": None, "policy": None}])
def test_no_two_settings_are_one(control, parts):
    its = control(**parts)
    assert len({made_of(controller) for controller in its.settings.values()}) == len(its.settings)


def test_a_model_with_a_policy_has_the_same_settings_without_it_as_a_method_of_its_own(control):
    groups = sweep.groups(control(), 99, 16)
    systems = {s.name: s for group in groups for s in group.systems}
    on = [s for s in systems.values() if s.method == SHIPPED]
    off = [s for s in systems.values() if s.method == POLICY_OFF]
    assert {s.timing for s in on} == {"sequential"}
    assert {s.timing for s in off} == {"parallel"}
    assert systems[POLICY_OFF].controller.threshold == GATE.threshold
    assert {f"{SHIPPED}, 4 paths at most", f"{SHIPPED}, threshold 0.3"} <= {s.name for s in on}
    assert {f"{POLICY_OFF}, 4 paths at most", f"{POLICY_OFF}, threshold 0.4"} <= {s.name for s in off}


# budgets from a table


def path(right):
    return PathRecord(30, [10, 20], torch.zeros(2, feature_dim(HIDDEN)), "4" if right else "5", right)


def record(family, question):
    return ProblemRecord(
        family, 0, question, torch.zeros(3, HIDDEN), [path(n % 2 == 0) for n in range(16)], []
    )


RECORDS = [record("gcd", "easy?"), record("products", "hard?"), record("unknown", "what?")]
TABLE = {("gcd", 0): 0.2, ("products", 0): 2.0}


def test_a_looked_up_budget_is_a_prediction_and_no_clients_limit(control):
    (group,) = sweep.lookup_groups(control(), TABLE, RECORDS)
    (system,) = group.systems
    assert (system.name, system.timing) == (LOOKUP, "sequential")
    prompt = PromptView(3, None, 1000, SamplingParams(), RequestBudget())
    easy, hard, other = (system.controller_for(r.question).plan(prompt) for r in RECORDS)
    assert (easy.coefficient, hard.coefficient, other.coefficient) == (0.2, 2.0, 1.0)
    assert (easy.total, hard.total) == (16, 16)  # as a client's limit, 0.2 would leave 3
    assert (easy.paths, hard.paths) == (2, 4)
    assert {plan.limited_by for plan in (easy, hard, other)} == {"model"}
    assert replay(RECORDS[0], system.controller_for("easy?")).coefficient == 0.2


def test_without_a_policy_a_looked_up_budget_is_what_is_spent(control):
    (group,) = sweep.lookup_groups(control(policy=None), TABLE, RECORDS)
    (system,) = group.systems
    assert system.timing == "parallel"
    assert [replay(r, system.controller_for(r.question)).started for r in RECORDS] == [3, 16, 16]


def test_there_is_nothing_to_look_up_without_a_table_or_a_budget(control):
    assert sweep.lookup_groups(control(), None, RECORDS) == []
    assert sweep.lookup_groups(control(budget=None), TABLE, RECORDS) == []
