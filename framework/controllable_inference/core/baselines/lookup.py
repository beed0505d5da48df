"""Predictions from a table: what a predictor must match that has to read them off the question."""

from __future__ import annotations

from torch import Tensor

from controllable_inference.core.controller import GatedController
from controllable_inference.core.views import Answer, Decision, Plan, PromptView, RequestView


class GivenPrediction:
    """The shipped controller for one question, whose prediction is given in place of a predictor's.

    A client's own coefficient still goes before it.
    """

    needs_prompt_hidden = False

    def __init__(self, inner: GatedController, predicted: float) -> None:
        self.inner = inner
        self.predicted = predicted
        self.policy = inner.policy
        self.most_paths = inner.most_paths
        self.needs_features = inner.needs_features
        self.needs_siblings = inner.needs_siblings

    def plan(self, prompt: PromptView) -> Plan:
        return self.inner.plan_for(prompt, self.predicted)

    def score(self, features: Tensor) -> Tensor:
        return self.inner.score(features)

    def decide(self, request: RequestView) -> list[Decision]:
        return self.inner.decide(request)

    def answer(self, request: RequestView) -> Answer:
        return self.inner.answer(request)
