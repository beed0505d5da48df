"""Controllers decide how much a request may compute, which paths go on, and what the answer is.

Everything the engine does of its own accord is mechanism; every choice is a controller's. The one shipped
here is gate + budget + policy; each baseline (`baselines`) is another on the same engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.features import RANK, STATISTICS
from controllable_inference.core.policy import Guard, Policy, left_to_start, without
from controllable_inference.core.views import (
    Answer,
    Decision,
    PathView,
    Plan,
    PromptView,
    Prune,
    RequestView,
    Stop,
)
from controllable_inference.core.vote import is_settled, tally, vote


class Controller(Protocol):
    """Pure: same view, same decision. One controller serves many requests, from the engine's thread.

    What it says is checked (`checks`): a word that can't be done, and whatever it raises, fails the request
    with ControllerError. Its attributes are read when a request is submitted.
    """

    most_paths: int
    """Upper bound of the paths that a plan of its may have running at once."""
    needs_prompt_hidden: bool
    """Whether `plan` wants the prompt's hidden states."""
    needs_features: bool
    """Whether `score` is to be called; without, paths have no features, and views neither scores nor
    statistics.
    """
    needs_siblings: bool
    """Whether features compare a path with the others of its request; without, `features.COMPARED` are as of
    a path that is alone, which is quicker.
    """

    def plan(self, prompt: PromptView) -> Plan:
        """Once, when the prompt has been computed."""

    def score(self, features: Tensor) -> Tensor:
        """features (n, feature_dim) of all paths at a boundary, of all requests -> (n,) in [0, 1].

        Their last columns are `features.STATISTICS`, which views show as well.
        """

    def decide(self, request: RequestView) -> list[Decision]:
        """When paths of the request have ended a step, or have finished; no list entry means: go on.

        Asked at a step's end, `at_boundary` tells of which paths. Paths that are spawned begin with the next
        token, and are not in sight before.
        """

    def answer(self, request: RequestView) -> Answer:
        """Once, when nothing of the request runs any more."""


def confidence_rank(features: Tensor) -> Tensor:
    """Score for a model without a trained gate: the path's rank in mean log-probability among its siblings.

    Calibrated by construction: under threshold t, a share t of a request's paths, counting those already
    gone.
    """
    return features[:, features.shape[1] - len(STATISTICS) + RANK]


class GatedController:
    """Prune by score at step boundaries, stop once the vote is settled, vote weighted by score. In between,
    do as the policy says.

    score: (n, features) -> (n,) in [0, 1]. weight: from a path's score to its vote's weight in [0, 1]; None
    where scores do not estimate correctness: one vote each. threshold None switches pruning off. policy: how
    many of the paths that the budget allows are started, when, and when there are enough; without one all are
    started at once. needs_siblings: whether `score` reads what compares a path with the request's others.
    """

    def __init__(
        self,
        rule: BudgetRule,
        score: Callable[[Tensor], Tensor],
        *,
        threshold: float | None = 0.3,
        min_keep: int = 2,
        min_steps: int = 2,
        weight: Callable[[float], float] | None = float,
        predictor: BudgetPredictor | None = None,
        policy: Policy | None = None,
        needs_siblings: bool = True,
    ) -> None:
        self.rule = rule
        self.threshold = threshold
        self.guard = Guard(min_keep, min_steps)
        self.predictor = predictor
        self.policy = policy
        self.most_paths = rule.max_paths if policy is None else min(rule.max_paths, policy.outlay.at_once)
        self.needs_prompt_hidden = predictor is not None
        self.needs_features = threshold is not None or weight is not None or policy is not None
        self.needs_siblings = needs_siblings
        self._score = score
        self._weight = weight

    def plan(self, prompt: PromptView) -> Plan:
        predicted = 1.0
        if self.predictor is not None and prompt.hidden is not None:
            with torch.inference_mode():
                device = next(self.predictor.parameters()).device
                predicted = float(self.predictor(prompt.hidden.float().to(device)[None])[0])
        return self.plan_for(prompt, predicted)

    def plan_for(self, prompt: PromptView, predicted: float) -> Plan:
        """The plan for a predicted coefficient, whoever predicted it."""
        if self.policy is not None:
            return self.policy.outlay.lay_out(prompt, self.rule, predicted)
        return allocate(prompt, self.rule, predicted)

    def score(self, features: Tensor) -> Tensor:
        return self._score(features)

    def weigh(self, path: PathView) -> float:
        """What the path's vote counts."""
        return 1.0 if self._weight is None or path.score is None else self._weight(path.score)

    def decide(self, request: RequestView) -> list[Decision]:
        if request.time_left is not None and request.time_left <= 0:
            return [Stop("deadline")]
        if self._is_settled(request):
            return [Stop("decided")]
        decisions: list[Decision] = [*self._doomed(request)]
        rest = without(request, decisions)
        if self.policy is not None and not self._is_settled(rest):
            more = self.policy.decide(rest, self.weigh, self.guard if self.threshold is not None else None)
            decisions += more
            rest = without(rest, more)
        return [*decisions, Stop("decided")] if rest is not request and self._is_settled(rest) else decisions

    def _is_settled(self, request: RequestView) -> bool:
        """Whether paths that run, or could still be started, can't overturn the leader."""
        to_come = len(request.running) + (left_to_start(request) if self.policy is not None else 0)
        return to_come > 0 and is_settled(tally(request.paths, self.weigh), to_come)

    def _doomed(self, request: RequestView) -> list[Prune]:
        """What the gate drops at this boundary: the worst first, as far as `min_keep` allows."""
        if self.threshold is None:
            return []
        running = request.running
        doomed = sorted(
            (p.score, p.index)
            for p in running
            if p.at_boundary
            and p.steps >= self.guard.min_steps
            and p.score is not None
            and p.score <= self.threshold
        )
        return [
            Prune(index, "gate", f"{score:.2f} ≤ {self.threshold:.2f}")
            for score, index in doomed[: self.guard.spare(request)]
        ]

    def answer(self, request: RequestView) -> Answer:
        return vote(request.paths, self.weigh)
