"""Paths one after another: what all baselines have in common that sample until they have seen enough."""

from __future__ import annotations

from dataclasses import replace

from controllable_inference.core.baselines.majority import MajorityVote
from controllable_inference.core.views import Decision, Plan, PromptView, RequestView, Spawn


class Spawning(MajorityVote):
    """At most `paths` paths, `at_once` of them side by side; further ones start as those end.

    A request's own `max_paths` limits how many run at once. Greedy sampling makes one path, for all would
    be equal.
    """

    def __init__(self, paths: int, at_once: int, token_cap: int = 1024) -> None:
        super().__init__(min(at_once, paths), token_cap)
        self.paths = paths

    def plan(self, prompt: PromptView) -> Plan:
        plan = super().plan(prompt)
        return plan if prompt.sampling.temperature == 0 else replace(plan, max_paths=plan.paths)

    def decide(self, request: RequestView) -> list[Decision]:
        return self.more(request, self.paths)

    def more(self, request: RequestView, total: int, freed: int = 0) -> list[Decision]:
        """Start paths until there have been `total`, as far as there is room beside those that run.

        freed: how many of those that run are pruned by the same answer. At a boundary nothing is started
        while something runs: a path may end in the same step of the engine, which then asks again before
        it has started what it was told to.
        """
        limit = request.plan.max_paths
        still = len(request.running) - freed
        if limit is None or (still and any(p.at_boundary for p in request.paths)):
            return []
        count = min(total - len(request.paths), limit - still)
        return [Spawn(count)] if count > 0 else []
