"""Pruning by running log-probability."""

from __future__ import annotations

from torch import Tensor

from controllable_inference.core.baselines.rate_pruning import RatePruning
from controllable_inference.core.baselines.weighing import column, statistic
from controllable_inference.core.views import PathView, RequestView


class LogProbPruning(RatePruning):
    """Drops the paths whose tokens so far were least likely: lowest mean log-probability. Plain vote."""

    needs_features = True

    def score(self, features: Tensor) -> Tensor:
        """Geometric mean of the path's token probabilities."""
        return column(features, "path_logprob").exp().clamp(0, 1)

    def rank(self, path: PathView, request: RequestView) -> float:
        value = statistic(path, "path_logprob")
        return 0.0 if value is None else value
