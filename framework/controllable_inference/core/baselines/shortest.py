"""Shortest paths first: whoever ends first decides."""

from __future__ import annotations

import math
from dataclasses import replace

from controllable_inference.core.baselines.majority import MajorityVote
from controllable_inference.core.views import Answer, Decision, PathView, Prune, RequestView, Stop
from controllable_inference.core.vote import one_each, vote


class ShortM(MajorityVote):
    """short-m@k (Hassid et al. 2025, "Don't Overthink it", arXiv:2505.17813): of `paths` paths the first `m`
    that end vote, the others are stopped. Ties go to the shortest path.

    Theirs end with the thinking, ours with the answer behind it.
    """

    def __init__(self, paths: int, m: int = 3, token_cap: int = 1024) -> None:
        super().__init__(paths, token_cap)
        self.m = m

    def first(self, request: RequestView) -> list[PathView]:
        """The m shortest paths with an answer, shortest first."""
        answered = (p for p in request.finished if p.key is not None)
        return sorted(answered, key=lambda p: (p.tokens, p.index))[: self.m]

    def decide(self, request: RequestView) -> list[Decision]:
        return [Stop("shortest")] if len(self.first(request)) == self.m else []

    def answer(self, request: RequestView) -> Answer:
        # a vote's ties go to the best score, so here the shortest gets it
        return vote([replace(p, score=1 / (1 + p.tokens)) for p in self.first(request)], one_each)


class ShortestPruning(ShortM):
    """Prunes the `rate` of the paths (rounded down) that would end last: short-m@k, told as pruning."""

    def __init__(self, paths: int, rate: float, token_cap: int = 1024) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {rate}")
        super().__init__(paths, paths - math.floor(rate * paths + 1e-9), token_cap)

    def decide(self, request: RequestView) -> list[Decision]:
        doomed = request.running if super().decide(request) else []
        return [Prune(p.index, "rate") for p in doomed]
