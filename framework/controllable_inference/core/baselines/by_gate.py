"""A gate without pruning: it only weighs the votes, or picks the answer alone."""

from __future__ import annotations

from torch import Tensor

from controllable_inference.core.baselines.majority import MajorityVote
from controllable_inference.core.baselines.weighing import (
    Score,
    Worth,
    answer_of,
    latest_score,
    weighted_vote,
)
from controllable_inference.core.views import Answer, RequestView


class WeightedVote(MajorityVote):
    """Verifier-weighted voting: argmax over answers of the sum of their paths' scores (Li et al. 2023,
    "Making Language Models Better Reasoners with Step-Aware Verifier", arXiv:2206.02336).

    worth: what of a path's scores weighs its vote; the latest, which has seen most of it.
    """

    needs_features = True
    needs_siblings = True  # `score` may read all there is

    def __init__(self, score: Score, paths: int, token_cap: int = 1024, worth: Worth = latest_score) -> None:
        super().__init__(paths, token_cap)
        self.worth = worth
        self._score = score

    def score(self, features: Tensor) -> Tensor:
        return self._score(features)

    def answer(self, request: RequestView) -> Answer:
        return weighted_vote(request.paths, self.worth)


class BestOfN(WeightedVote):
    """Best of n by verifier (Cobbe et al. 2021, arXiv:2110.14168): the answer of the path that scores
    highest, the lowest-numbered of equal ones.
    """

    def answer(self, request: RequestView) -> Answer:
        voters = [p for p in request.finished if p.key is not None]
        if not voters:
            return weighted_vote(voters, self.worth)
        best = max(voters, key=lambda p: (self.worth(p) or 0.0, -p.index))
        return answer_of(best, request.paths)
