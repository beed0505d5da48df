"""From a budget coefficient and a request's limits to paths, token cap and mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controllable_inference.core.request import EFFORT_COEFFICIENTS
from controllable_inference.core.views import Plan, PromptView

LARGEST_COEFFICIENT = 2.0


@dataclass(frozen=True)
class BudgetRule:
    """What coefficient 1 buys, and the range an operator allows.

    base_tokens: None for all that fits behind the prompt.
    can_be_fast: whether this model has a fast mode, that is, a thinking segment that can be skipped.
    answer_share: of each path's token cap, what is kept for its answer.
    """

    base_paths: int
    base_tokens: int | None
    max_paths: int
    min_coefficient: float = 0.0
    max_coefficient: float = 2.0
    fast_threshold: float = 0.1
    min_token_share: float = 0.5
    can_be_fast: bool = True
    answer_share: float = 0.0


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
    A client's `paths` take the place of the first, and where one path is the base it buys length only.

    Under the fast threshold: one path that does not think. The cap keeps at least `min_token_share` of the
    base, and never exceeds the room behind the prompt. A domain adapter's `budget_scale` multiplies the
    coefficient, to 2 at most. Greedy sampling makes one path, for all would be equal. `limited_by` names the
    tightest limit that took something away, else whose coefficient it was.

    The thinking cap leaves `answer_share` of the token cap for the answer.
    """
    wanted, limited_by = wanted_coefficient(prompt, predicted)
    scaled = min(wanted * prompt.budget_scale, LARGEST_COEFFICIENT)
    coefficient = min(max(scaled, rule.min_coefficient), rule.max_coefficient)
    fast = rule.can_be_fast and (coefficient < rule.fast_threshold or prompt.budget.thinking_tokens == 0)
    if fast and coefficient >= rule.fast_threshold:
        limited_by = "thinking_tokens"

    bought = max(1, round(coefficient * rule.base_paths)) if rule.base_paths > 1 else 1
    wanted_paths = prompt.budget.paths or bought
    paths = min(1 if fast else wanted_paths, rule.max_paths)
    if prompt.budget.max_paths is not None and prompt.budget.max_paths < paths:
        paths, limited_by = prompt.budget.max_paths, "max_paths"
    if prompt.sampling.temperature == 0:
        paths = 1

    base_tokens = prompt.room if rule.base_tokens is None else rule.base_tokens
    cap = max(1, round(max(coefficient, rule.min_token_share) * base_tokens))
    for asked in (prompt.budget.max_tokens, prompt.sampling.max_tokens):
        if asked is not None and asked < cap:
            cap, limited_by = asked, "max_tokens"
    cap = min(cap, prompt.room)
    thinking = None if fast else thinking_cap(prompt, rule, cap)
    if thinking is not None and thinking == prompt.budget.thinking_tokens:
        limited_by = "thinking_tokens"
    return Plan(paths, cap, "fast" if fast else "slow", coefficient, limited_by, thinking_cap=thinking)


def thinking_cap(prompt: PromptView, rule: BudgetRule, token_cap: int) -> int | None:
    """How long a path may think, so that it still has room to answer; None for any length.

    That is where thinking can't be closed, where nothing is kept for the answer and no budget was given, or
    where the token cap is too small for anything to be left.
    """
    if prompt.closing is None:
        return None
    behind = token_cap - prompt.closing  # what thinking and answer share
    caps = [prompt.budget.thinking_tokens] if prompt.budget.thinking_tokens else []
    if rule.answer_share and behind >= 2:
        caps.append(behind - math.ceil(rule.answer_share * behind))
    return min(caps, default=None)
