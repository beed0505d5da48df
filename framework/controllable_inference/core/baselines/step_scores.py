"""STEP-like: judge a path by the mean of its step scores.

STEP (Liang et al. 2026, "Hidden States as Early Signals: Step-level Trace Evaluation and Pruning for
Efficient Test-Time Scaling", arXiv:2601.09093): a scorer reads the hidden state at the end of each step; a
path's score is the mean over its steps so far, and weighs its vote. STEP prunes the lowest-scored path
whenever the KV cache is full. The scorer here is whatever gate is given, which may see more than that state.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from controllable_inference.core.baselines.by_gate import WeightedVote
from controllable_inference.core.baselines.rate_pruning import RatePruning
from controllable_inference.core.baselines.weighing import Score, latest_score, mean_score, weighted_vote
from controllable_inference.core.views import Answer, Decision, PathView, Prune, RequestView


class StepScores(WeightedVote):
    """Pruning by mean step score, on STEP's own occasion or under a threshold; None switches either off.

    memory: tokens that the request's running paths may hold in the KV cache together, prompt aside. The
    paper's occasion is the whole cache being full; a budget a request gives the same result under any load.
    threshold: a path at a boundary whose mean is at or under it goes, from `min_steps` steps on, while at
    least `min_keep` paths stay.
    """

    def __init__(
        self,
        score: Score,
        paths: int,
        memory: int | None = None,
        threshold: float | None = None,
        min_keep: int = 2,
        min_steps: int = 2,
        token_cap: int = 1024,
    ) -> None:
        super().__init__(score, paths, token_cap, mean_score)
        self.memory = memory
        self.threshold = threshold
        self.min_keep = min_keep
        self.min_steps = min_steps

    def decide(self, request: RequestView) -> list[Decision]:
        scored = [(m, p) for p in request.running if (m := mean_score(p)) is not None]
        scored.sort(key=lambda at: (at[0], -at[1].index))
        under = self._under_threshold(request, scored)
        over = self._over_memory(request, [p for _, p in scored if p not in under], under)
        return [*(Prune(p.index, "step_score") for p in under), *(Prune(p.index, "memory") for p in over)]

    def _under_threshold(self, request: RequestView, scored: list[tuple[float, PathView]]) -> list[PathView]:
        if self.threshold is None:
            return []
        spare = len(request.running) + len(request.finished) - self.min_keep
        low = [p for m, p in scored if p.at_boundary and p.steps >= self.min_steps and m <= self.threshold]
        return low[: max(0, spare)]

    def _over_memory(
        self, request: RequestView, lowest_first: list[PathView], gone: list[PathView]
    ) -> list[PathView]:
        if self.memory is None:
            return []
        left = [p for p in request.running if p not in gone]
        held = sum(p.tokens for p in left)
        doomed: list[PathView] = []
        for path in lowest_first:
            if held <= self.memory or len(left) - len(doomed) <= 1:
                break
            doomed.append(path)
            held -= path.tokens
        return doomed


class ScorePruning(RatePruning):
    """Pruning by step score at a given rate; the same score weighs the votes.

    by: the mean of a path's step scores, as STEP has it, or the latest alone.
    """

    needs_features = True
    needs_siblings = True  # `score` may read all there is

    def __init__(
        self,
        score: Score,
        paths: int,
        rate: float,
        by: Literal["mean", "latest"] = "mean",
        after: int = 2,
        token_cap: int = 1024,
    ) -> None:
        super().__init__(paths, rate, after, token_cap)
        self.worth = mean_score if by == "mean" else latest_score
        self._score = score

    def score(self, features: Tensor) -> Tensor:
        return self._score(features)

    def rank(self, path: PathView, request: RequestView) -> float:
        return self.worth(path) or 0.0

    def answer(self, request: RequestView) -> Answer:
        return weighted_vote(request.paths, self.worth)
