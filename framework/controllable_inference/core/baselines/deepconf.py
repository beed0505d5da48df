"""DeepConf-like: believe paths as far as the model was confident in its least confident step.

Deep Think with Confidence (Fu et al. 2025, arXiv:2508.15260). Theirs and ours: a token's confidence is minus
the mean log-probability of its likeliest tokens, a group's the mean over its tokens. Their groups are
windows that slide over 1,024 or 2,048 tokens, of the 20 likeliest; ours are steps, of the 5 likeliest
(`features.CONFIDENCE_TOP_K`), for a whole path here is shorter than one of their windows. Their mean of the
lowest tenth of the groups is, for fewer than twenty steps, the lowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from torch import Tensor

from controllable_inference.core.baselines.majority import MajorityVote
from controllable_inference.core.baselines.spawning import Spawning
from controllable_inference.core.baselines.weighing import DIGITS, column, statistic, weighted_vote
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
from controllable_inference.core.vote import tally

Measure = Literal["lowest", "tail", "mean"]
STATISTIC: dict[Measure, str] = {
    "lowest": "lowest_step_confidence",
    "tail": "step_confidence",
    "mean": "path_confidence",
}
"""A path's confidence: of its least confident step, of its last one, or over all its tokens."""


def confidence_bar(confidences: Sequence[float], keep: float) -> float:
    """The (100 - keep)th percentile, interpolated: the most confident `keep` percent are at or above it."""
    return round(float(np.percentile(confidences, 100 - keep)), DIGITS)


def squashed(confidence: Tensor) -> Tensor:
    """Confidence in [0, inf) to a score in [0, 1) of the same order."""
    return confidence / (1 + confidence)


class DeepConf(MajorityVote):
    """Offline: of `paths` whole paths the `keep` percent most confident (the paper's η: 10 or 90) vote, each
    weighed by its confidence.
    """

    needs_features = True

    def __init__(
        self, paths: int, keep: float = 10, measure: Measure = "lowest", token_cap: int = 1024
    ) -> None:
        super().__init__(paths, token_cap)
        self.keep = keep
        self.measure = STATISTIC[measure]

    def score(self, features: Tensor) -> Tensor:
        return squashed(column(features, self.measure))

    def answer(self, request: RequestView) -> Answer:
        voters = [p for p in request.paths if p.state == "kept" and p.key is not None]
        known = [c for p in voters if (c := self._confidence(p)) is not None]
        if known:
            bar = confidence_bar(known, self.keep)
            voters = [p for p in voters if (self._confidence(p) or 0.0) >= bar]
        return weighted_vote(voters, self._confidence)

    def _confidence(self, path: PathView) -> float | None:
        return statistic(path, self.measure)


class OnlineDeepConf(Spawning):
    """Online: the first `warmup` paths run whole and set the bar; later ones are cut at a step below it.

    bar: `confidence_bar` of the warm-up paths' lowest confidences. Paths whose lowest confidence reaches it
    vote, weighed by it, warm-up ones too. When the leading answer has a share of `consensus` (the paper's τ)
    of all weight, the rest is stopped. The paper warms up with 16 of up to 512 paths.
    at_once: paths side by side after the warm-up; as many as in it if not given.
    """

    needs_features = True

    def __init__(
        self,
        paths: int,
        keep: float = 10,
        warmup: int = 8,
        consensus: float = 0.95,
        at_once: int | None = None,
        token_cap: int = 1024,
    ) -> None:
        super().__init__(paths, max(warmup, at_once or warmup), token_cap)
        self.keep = keep
        self.warmup = min(warmup, paths)
        self.consensus = consensus
        self.at_once = at_once or warmup

    def plan(self, prompt: PromptView) -> Plan:
        plan = super().plan(prompt)
        return replace(plan, paths=min(plan.paths, self.warmup))

    def score(self, features: Tensor) -> Tensor:
        return squashed(column(features, STATISTIC["lowest"]))

    def decide(self, request: RequestView) -> list[Decision]:
        warming = request.paths[: self.warmup]
        if len(warming) < self.warmup or any(p.state == "running" for p in warming):
            return self.more(request, self.warmup)
        bar = self._bar(request)
        votes = tally(self._voters(request, bar), lambda p: _lowest(p) or 0.0)
        if max(votes.values(), default=0.0) >= self.consensus * sum(votes.values()) > 0:
            return [Stop("consensus")]
        doomed: list[Decision] = [
            Prune(p.index, "confidence", f"{confidence:.2f} < {bar:.2f}")
            for p in request.running
            if p.at_boundary and (confidence := statistic(p, "step_confidence") or 0.0) < bar
        ]
        busy = len(request.running) - len(doomed)
        started = len(request.paths)
        return doomed + self.more(request, min(self.paths, started + self.at_once - busy), len(doomed))

    def answer(self, request: RequestView) -> Answer:
        return weighted_vote(self._voters(request, self._bar(request)), _lowest)

    def _bar(self, request: RequestView) -> float:
        """0 where nothing is known of the warm-up paths: then none is cut."""
        known = [c for p in request.paths[: self.warmup] if (c := _lowest(p)) is not None]
        return confidence_bar(known, self.keep) if known else 0.0

    def _voters(self, request: RequestView, bar: float) -> list[PathView]:
        return [p for p in request.finished if (_lowest(p) or 0.0) >= bar]


def _lowest(path: PathView) -> float | None:
    return statistic(path, STATISTIC["lowest"])
