"""Random pruning: what any way to choose whom to prune must beat."""

from __future__ import annotations

import hashlib

from controllable_inference.core.baselines.rate_pruning import RatePruning
from controllable_inference.core.views import PathView, RequestView


class RandomPruning(RatePruning):
    """Drops paths drawn at random. Plain vote.

    A draw is a hash of `seed`, the path's number and the request's paths as they stand (tokens and steps of
    each): the same request gets the same draws, whatever runs beside it or ran before, and another request
    gets others.
    """

    def __init__(self, paths: int, rate: float, after: int = 2, token_cap: int = 1024, seed: int = 0) -> None:
        super().__init__(paths, rate, after, token_cap)
        self.seed = seed

    def rank(self, path: PathView, request: RequestView) -> float:
        stand = [(p.tokens, p.steps) for p in request.paths]
        digest = hashlib.sha256(repr((self.seed, path.index, stand)).encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
