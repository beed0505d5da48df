"""Self-truncating best-of-n: after an early window, only the path closest to the others goes on."""

from __future__ import annotations

from torch import Tensor

from controllable_inference.core.baselines.majority import MajorityVote
from controllable_inference.core.baselines.weighing import answer_of, column
from controllable_inference.core.views import Answer, Decision, PathView, Prune, RequestView, Stop
from controllable_inference.core.vote import one_each, vote


class SelfTruncation(MajorityVote):
    """ST-BoN-like (Wang et al. 2025, "Sampling-Efficient Test-Time Scaling: Self-Estimating the Best-of-N
    Sampling in Early Decoding", arXiv:2503.01422).

    Theirs: the window begins at the first token by which all paths differ and is as long again; at each of
    its tokens the path with the smallest mean distance to the others (of a feature of the hidden states of
    all layers) gets a vote, and the one with most votes goes on. Ours: the window is the first `window`
    steps, closeness is step agreement, and its mean over the window takes the place of the votes. It is
    measured when a path ends the window, by what the others have written by then.
    """

    needs_features = True
    needs_siblings = True

    def __init__(self, paths: int, window: int = 3, token_cap: int = 1024) -> None:
        super().__init__(paths, token_cap)
        self.window = window

    def score(self, features: Tensor) -> Tensor:
        """Mean step agreement so far."""
        return column(features, "path_agreement").clamp(0, 1)

    def closest(self, request: RequestView) -> PathView | None:
        """The path that agrees most with the others over the window; the lowest-numbered of equal ones."""
        left = (p for p in request.paths if p.state != "pruned")
        return max(left, key=lambda p: (self._closeness(p), -p.index), default=None)

    def _closeness(self, path: PathView) -> float:
        return path.scores[: self.window][-1] if path.scores else 0.0

    def decide(self, request: RequestView) -> list[Decision]:
        if any(p.steps < self.window for p in request.running):
            return []
        best = self.closest(request)
        if best is None or best.state == "kept":
            return [Stop("closest")]
        return [Prune(p.index, "distance") for p in request.running if p.index != best.index]

    def answer(self, request: RequestView) -> Answer:
        best = self.closest(request)
        if best is None or best.key is None:
            return vote(request.paths, one_each)
        return answer_of(best, request.paths)
