"""Plain sampling: one path, or several with one vote each."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.views import Answer, Decision, Plan, PromptView, RequestView
from controllable_inference.core.vote import one_each, vote


class MajorityVote:
    """Self-consistency (Wang et al. 2022, arXiv:2203.11171): n whole paths, one vote each, no pruning and no
    early stop.

    token_cap: most tokens of a path. The request's own limits still hold.
    """

    needs_prompt_hidden = False
    needs_features = False
    needs_siblings = False

    def __init__(self, paths: int, token_cap: int = 1024) -> None:
        self.most_paths = paths
        self.rule = BudgetRule(paths, token_cap, paths, min_coefficient=1, max_coefficient=1)

    def plan(self, prompt: PromptView) -> Plan:
        return allocate(prompt, self.rule)

    def score(self, features: Tensor) -> Tensor:
        raise NotImplementedError("a plain vote scores no paths")

    def decide(self, request: RequestView) -> list[Decision]:
        return []

    def answer(self, request: RequestView) -> Answer:
        return vote(request.paths, one_each)


class SingleSample(MajorityVote):
    """One path, as any plain server would answer."""

    def __init__(self, token_cap: int = 1024) -> None:
        super().__init__(1, token_cap)


class FastSample(MajorityVote):
    """Paths that do not think, one if not said."""

    def __init__(self, token_cap: int = 1024, paths: int = 1) -> None:
        super().__init__(paths, token_cap)

    def plan(self, prompt: PromptView) -> Plan:
        return replace(super().plan(prompt), mode="fast")
