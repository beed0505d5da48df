"""Early-stopping self-consistency: stop at the first window of paths that agree."""

from __future__ import annotations

from collections.abc import Sequence

from controllable_inference.core.baselines.spawning import Spawning
from controllable_inference.core.views import Answer, Decision, PathView, RequestView, Stop
from controllable_inference.core.vote import one_each, vote


def unanimous_window(paths: Sequence[PathView], window: int) -> Sequence[PathView] | None:
    """The first `window` paths in a row, counted from a multiple of `window`, that all gave one answer.

    A path without an answer dissents.
    """
    for start in range(0, len(paths) - window + 1, window):
        members = paths[start : start + window]
        keys = {p.key if p.state == "kept" else None for p in members}
        if len(keys) == 1 and None not in keys:
            return members
    return None


class EarlyStopping(Spawning):
    """ESC (Li et al. 2024, "Escape Sky-high Cost", arXiv:2401.10480).

    Windows of `window` paths run one after another, those of one window side by side. The first window whose
    answers are all equal (entropy 0) gives the answer, as in the authors' code; if there is none within
    `paths` paths, all of them vote. A last window that `paths` cuts short votes, but can't agree.
    """

    def __init__(self, paths: int, window: int = 5, token_cap: int = 1024) -> None:
        super().__init__(paths, window, token_cap)
        self.window = window

    def decide(self, request: RequestView) -> list[Decision]:
        if unanimous_window(request.paths, self.window) is not None:
            return [Stop("unanimous")]
        started = len(request.paths)
        if started % self.window == 0 and request.running:
            return []
        return self.more(request, min(self.paths, (started // self.window + 1) * self.window))

    def answer(self, request: RequestView) -> Answer:
        return vote(unanimous_window(request.paths, self.window) or request.paths, one_each)
