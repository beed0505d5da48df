"""Pruning at a given rate, so that ways to choose whom are compared at the same one."""

from __future__ import annotations

import math

from controllable_inference.core.baselines.majority import MajorityVote
from controllable_inference.core.views import Decision, PathView, Prune, RequestView


class RatePruning(MajorityVote):
    """Drops the lowest-ranked `rate` of the request's paths (rounded down), all at one moment.

    The moment: when every path that still runs has ended `after` steps. What has finished by then can't be
    dropped any more, so that fewer than `rate` may go.
    """

    def __init__(self, paths: int, rate: float, after: int = 2, token_cap: int = 1024) -> None:
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {rate}")
        super().__init__(paths, token_cap)
        self.rate = rate
        self.after = after

    def rank(self, path: PathView, request: RequestView) -> float:
        """The lower, the sooner it goes. Ties: the later-numbered goes."""
        raise NotImplementedError

    def decide(self, request: RequestView) -> list[Decision]:
        running = request.running
        if any(p.state == "pruned" for p in request.paths) or any(p.steps < self.after for p in running):
            return []
        # 0.58 of 50 paths is 28.999999999999996 of them in binary
        due = math.floor(self.rate * len(request.paths) + 1e-9)
        ranked = sorted(running, key=lambda p: (self.rank(p, request), -p.index))
        return [Prune(p.index, "rate") for p in ranked[:due]]
