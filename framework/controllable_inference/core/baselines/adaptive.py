"""Adaptive-Consistency: sample until the leading answer is probably the majority's."""

from __future__ import annotations

from controllable_inference.core.baselines.spawning import Spawning
from controllable_inference.core.policy import lead
from controllable_inference.core.views import Decision, RequestView, Stop
from controllable_inference.core.vote import one_each, tally


class AdaptiveConsistency(Spawning):
    """Adaptive-Consistency with the Beta stopping rule (Aggarwal et al. 2023, arXiv:2305.11860).

    After each path: stop when `policy.lead` of the two answers with most votes reaches `threshold`.
    At 1 path at once, as in the paper, it takes 1, 2, 3, 4, 5 equal answers in a row to reach 0.75, 0.875,
    0.9375, 0.96875, 0.984375; thresholds between two of these differ only where answers do. With more
    `at_once` the same rule is asked as paths end, which favours what short paths say, and what still runs is
    stopped: latency for tokens.
    """

    def __init__(self, paths: int, threshold: float = 0.95, at_once: int = 1, token_cap: int = 1024) -> None:
        super().__init__(paths, at_once, token_cap)
        self.threshold = threshold

    def decide(self, request: RequestView) -> list[Decision]:
        votes = sorted((int(v) for v in tally(request.paths, one_each).values()), reverse=True)
        if votes and lead(votes[0], votes[1] if len(votes) > 1 else 0) >= self.threshold:
            return [Stop("settled")]
        return self.more(request, self.paths)
