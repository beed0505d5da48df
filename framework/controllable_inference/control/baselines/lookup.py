"""Budgets from a table: what a predictor must match that has to read them off the question."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from controllable_inference.control.allocation import BudgetRule, allocate
from controllable_inference.control.controller import Controller
from controllable_inference.control.views import Answer, Decision, Plan, PromptView, RequestView


class FixedBudget:
    """Another controller, but the coefficient is given. `rule` turns it into paths and token cap."""

    needs_prompt_hidden = False

    def __init__(self, inner: Controller, rule: BudgetRule, coefficient: float) -> None:
        self.inner = inner
        self.rule = rule
        self.coefficient = coefficient
        self.most_paths = rule.max_paths
        self.needs_features = inner.needs_features

    def plan(self, prompt: PromptView) -> Plan:
        return allocate(prompt, self.rule, self.coefficient)

    def score(self, features: Tensor) -> Tensor:
        return self.inner.score(features)

    def decide(self, request: RequestView) -> list[Decision]:
        return self.inner.decide(request)

    def answer(self, request: RequestView) -> Answer:
        return self.inner.answer(request)


class LookupBudget:
    """Coefficients by question, for instance that of the question's family and level.

    A controller never sees the question, so there is one for each: `of(question)`. Questions that are not in
    the table get `otherwise`.
    """

    def __init__(
        self, inner: Controller, rule: BudgetRule, coefficients: Mapping[str, float], otherwise: float = 1.0
    ) -> None:
        self.inner = inner
        self.rule = rule
        self.coefficients = coefficients
        self.otherwise = otherwise

    def of(self, question: str) -> FixedBudget:
        return FixedBudget(self.inner, self.rule, self.coefficients.get(question, self.otherwise))
