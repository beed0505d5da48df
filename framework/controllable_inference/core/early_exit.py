"""Early exit: end the thinking of a path once its answer no longer changes.

At the end of a step a path is made to try an answer, beside its thinking. Where the latest trials agree, more
thinking would rarely change it (Dynasor, Fu et al. 2025; DEER, Yang et al. 2025). Where they never come to
agree, it is given up after a number of trials: more thinking seldom helps then, and always costs.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from controllable_inference.core.controller import Controller
from controllable_inference.core.views import (
    Answer,
    Close,
    Decision,
    PathView,
    Plan,
    Probe,
    PromptView,
    Prune,
    RequestView,
    Stop,
    Trial,
)


def agree(trials: Sequence[Trial]) -> bool:
    """Whether they all came to answers, and to equal ones."""
    keys = {trial.key for trial in trials}
    return len(keys) == 1 and None not in keys


class EarlyExit:
    """Another controller, whose paths are closed early. All that it decides still holds.

    every: steps from one trial to the next. patience: how many trials in a row must agree. give_up: trials
    without such agreement after which a path is closed all the same, None for never.
    """

    def __init__(
        self, controller: Controller, *, every: int = 1, patience: int = 3, give_up: int | None = None
    ) -> None:
        if min(every, patience, 1 if give_up is None else give_up) < 1:
            raise ValueError("every, patience and give_up must be at least 1")
        self.controller = controller
        self.every = every
        self.patience = patience
        self.give_up = give_up
        self.most_paths = controller.most_paths
        self.needs_prompt_hidden = controller.needs_prompt_hidden
        self.needs_features = controller.needs_features
        self.needs_siblings = controller.needs_siblings

    def plan(self, prompt: PromptView) -> Plan:
        return self.controller.plan(prompt)

    def score(self, features: Tensor) -> Tensor:
        return self.controller.score(features)

    def answer(self, request: RequestView) -> Answer:
        return self.controller.answer(request)

    def decide(self, request: RequestView) -> list[Decision]:
        decisions = self.controller.decide(request)
        gone = {decision.path for decision in decisions if isinstance(decision, Prune)}
        if any(isinstance(decision, Stop) for decision in decisions):
            return decisions
        mine = (self._of(path) for path in request.running if path.index not in gone)
        return [*decisions, *(decision for decision in mine if decision is not None)]

    def _of(self, path: PathView) -> Decision | None:
        if settled := self.settled(path):
            return Close(path.index, "consensus", f"{self.patience} trial answers in a row are {settled}")
        if self.give_up is not None and len(path.trials) >= self.give_up:
            told = f"{len(path.trials)} trial answers, and no {self.patience} in a row agree"
            return Close(path.index, "gave_up", told)
        return Probe(path.index) if path.at_boundary and path.steps % self.every == 0 else None

    def settled(self, path: PathView) -> str | None:
        """The answer that the latest trials agree on, None if they don't."""
        latest = path.trials[-self.patience :]
        return latest[-1].answer if len(latest) == self.patience and agree(latest) else None
