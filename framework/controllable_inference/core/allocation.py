"""From a budget coefficient and a request's limits to paths, token cap and mode."""

from __future__ import annotations

from dataclasses import dataclass

from controllable_inference.core.request import EFFORT_COEFFICIENTS
from controllable_inference.core.views import Plan, PromptView

LARGEST_COEFFICIENT = 2.0


@dataclass(frozen=True)
class BudgetRule:
    """What coefficient 1 buys, and the range an operator allows.

    can_be_fast: whether this model has a fast mode, that is, a thinking segment that can be skipped.
    """

    base_paths: int
    base_tokens: int
    max_paths: int
    min_coefficient: float = 0.0
    max_coefficient: float = 2.0
    fast_threshold: float = 0.1
    min_token_share: float = 0.5
    can_be_fast: bool = True


def wanted_coefficient(prompt: PromptView, predicted: float) -> tuple[float, str]:
    """The coefficient to go by, and whose it is.

    A client's `coefficient` and `effort` take the place of the model's prediction; of the two the smaller
    wins.
    """
    asked = {
        "coefficient": prompt.budget.coefficient,
        "effort": EFFORT_COEFFICIENTS[prompt.budget.effort] if prompt.budget.effort else None,
    }
    given = [(value, name) for name, value in asked.items() if value is not None]
    return min(given) if given else (predicted, "model")


def allocate(prompt: PromptView, rule: BudgetRule, predicted: float = 1.0) -> Plan:
    """paths = max(1, round(c * base_paths)), token cap = c * base_tokens, each cut to its tightest limit.

    Under the fast threshold: one path that does not think. The cap keeps at least `min_token_share` of the
    base, and never exceeds the room behind the prompt. A domain adapter's `budget_scale` multiplies the
    coefficient, to 2 at most. Greedy sampling makes one path, for all would be equal. `limited_by` names the
    tightest limit that took something away, else whose coefficient it was.
    """
    wanted, limited_by = wanted_coefficient(prompt, predicted)
    scaled = min(wanted * prompt.budget_scale, LARGEST_COEFFICIENT)
    coefficient = min(max(scaled, rule.min_coefficient), rule.max_coefficient)
    fast = rule.can_be_fast and coefficient < rule.fast_threshold

    paths = 1 if fast else max(1, round(coefficient * rule.base_paths))
    paths = min(paths, rule.max_paths)
    if prompt.budget.max_paths is not None and prompt.budget.max_paths < paths:
        paths, limited_by = prompt.budget.max_paths, "max_paths"
    if prompt.sampling.temperature == 0:
        paths = 1

    cap = max(1, round(max(coefficient, rule.min_token_share) * rule.base_tokens))
    for asked in (prompt.budget.max_tokens, prompt.sampling.max_tokens):
        if asked is not None and asked < cap:
            cap, limited_by = asked, "max_tokens"
    return Plan(paths, min(cap, prompt.room), "fast" if fast else "slow", coefficient, limited_by)
