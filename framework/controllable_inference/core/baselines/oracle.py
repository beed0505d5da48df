"""The oracle: knows a right answer when it sees one. For evaluation only."""

from __future__ import annotations

from collections.abc import Callable

from controllable_inference.core.baselines.spawning import Spawning
from controllable_inference.core.baselines.weighing import answer_of
from controllable_inference.core.views import Answer, Decision, PathView, RequestView, Stop
from controllable_inference.core.vote import one_each, vote


class Oracle(Spawning):
    """Stops at the first right answer: its accuracy is pass@n, which no way to choose among n paths exceeds.

    is_right: the verifier's word on an answer to this one question. at_once: paths side by side, all if not
    given; with 1 it takes the fewest paths that any way to stop early could.
    """

    def __init__(
        self,
        is_right: Callable[[str], bool],
        paths: int,
        at_once: int | None = None,
        token_cap: int = 1024,
    ) -> None:
        super().__init__(paths, at_once or paths, token_cap)
        self.is_right = is_right

    def right(self, request: RequestView) -> PathView | None:
        return next((p for p in request.finished if p.answer is not None and self.is_right(p.answer)), None)

    def decide(self, request: RequestView) -> list[Decision]:
        return [Stop("right")] if self.right(request) else self.more(request, self.paths)

    def answer(self, request: RequestView) -> Answer:
        right = self.right(request)
        return vote(request.paths, one_each) if right is None else answer_of(right, request.paths)
