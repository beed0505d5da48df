import pytest
from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PromptView
from controllable_inference.errors import RequestError
from hypothesis import given
from hypothesis import strategies as st

RULE = BudgetRule(base_paths=16, base_tokens=100, max_paths=24)


def prompt(sampling: SamplingParams | None = None, **budget) -> PromptView:
    return PromptView(10, None, 1000, sampling or SamplingParams(), RequestBudget(**budget))


def test_the_prediction_is_the_budget_when_nobody_else_speaks():
    plan = allocate(prompt(), RULE, 0.75)
    assert (plan.paths, plan.coefficient, plan.limited_by, plan.mode) == (12, 0.75, "model", "slow")


def test_more_than_the_base_buys_more_paths_and_longer_ones():
    plan = allocate(prompt(), RULE, 1.5)
    assert (plan.paths, plan.token_cap) == (24, 150)


@pytest.mark.parametrize(("effort", "paths"), [("minimal", 4), ("low", 8), ("medium", 16), ("high", 24)])
def test_efforts_are_coefficients(effort: str, paths: int):
    plan = allocate(prompt(effort=effort), RULE, 0.1)
    assert (plan.paths, plan.limited_by) == (paths, "effort")


def test_effort_none_does_not_think():
    plan = allocate(prompt(effort="none"), RULE)
    assert (plan.mode, plan.paths) == ("fast", 1)


def test_a_model_without_thinking_has_no_fast_mode():
    rule = BudgetRule(16, 100, 16, can_be_fast=False)
    assert allocate(prompt(effort="none"), rule).mode == "slow"


def test_the_tightest_limit_wins_and_is_named():
    assert allocate(prompt(coefficient=2, effort="low"), RULE).limited_by == "effort"
    assert allocate(prompt(coefficient=0.2, effort="low"), RULE).limited_by == "coefficient"
    assert allocate(prompt(max_paths=3), RULE).limited_by == "max_paths"
    assert allocate(prompt(max_paths=17), RULE).limited_by == "model"
    assert allocate(prompt(max_paths=3, max_tokens=7), RULE).limited_by == "max_tokens"
    assert allocate(prompt(SamplingParams(max_tokens=7)), RULE).token_cap == 7


def test_greedy_sampling_makes_one_path():
    assert allocate(prompt(SamplingParams(temperature=0)), RULE).paths == 1


def test_the_operator_bounds_the_coefficient():
    rule = BudgetRule(16, 100, 64, min_coefficient=0.5, max_coefficient=1)
    assert allocate(prompt(coefficient=2), rule).coefficient == 1
    assert allocate(prompt(effort="none"), rule).coefficient == 0.5


def test_a_small_budget_cuts_paths_before_it_cuts_them_off():
    assert allocate(prompt(), RULE, 0.2).token_cap == 50


@given(
    st.floats(0, 2),
    st.one_of(st.none(), st.floats(0, 2)),
    st.one_of(st.none(), st.integers(1, 40)),
    st.one_of(st.none(), st.integers(1, 400)),
    st.integers(1, 2000),
)
def test_a_plan_keeps_within_every_limit(predicted, coefficient, max_paths, max_tokens, room):
    budget = RequestBudget(coefficient=coefficient, max_paths=max_paths, max_tokens=max_tokens)
    plan = allocate(PromptView(10, None, room, SamplingParams(), budget), RULE, predicted)
    assert 1 <= plan.paths <= min(RULE.max_paths, max_paths or 99)
    assert 1 <= plan.token_cap <= min(room, max_tokens or 999)
    assert 0 <= plan.coefficient <= 2


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: SamplingParams(temperature="hot"), "sampling_parameters.temperature"),  # type: ignore[arg-type]
        (lambda: SamplingParams(top_p=0), "sampling_parameters.top_p"),
        (lambda: SamplingParams(top_k=1.5), "sampling_parameters.top_k"),  # type: ignore[arg-type]
        (lambda: SamplingParams(max_tokens=0), "sampling_parameters.max_tokens"),
        (lambda: SamplingParams(seed=True), "sampling_parameters.seed"),
        (lambda: SamplingParams(stop=("",)), "sampling_parameters.stop"),
        (lambda: SamplingParams(stop=None), "sampling_parameters.stop"),
        (lambda: SamplingParams(stop=5), "sampling_parameters.stop"),
        (lambda: RequestBudget(coefficient=3), "control.coefficient"),
        (lambda: RequestBudget(coefficient=float("nan")), "control.coefficient"),
        (lambda: RequestBudget(max_paths=0), "control.max_paths"),
        (lambda: RequestBudget(effort="maximal"), "control.effort"),  # type: ignore[arg-type]
        (lambda: RequestBudget(deadline=0), "control.deadline"),
        (lambda: RequestBudget(trace="all"), "control.trace"),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_limit_is_refused_by_its_field(make, field: str):
    with pytest.raises(RequestError) as refused:
        make()
    assert refused.value.field == field
    assert str(refused.value).startswith(field + ": must be ")
