"""What is compared: ways to answer a question with one model on one engine."""

from dataclasses import dataclass, replace

from controllable_inference.control.baselines import MajorityVote, SingleSample
from controllable_inference.control.controller import Controller
from controllable_inference.control.views import Plan, PromptView

PATHS = 16


class FastSample(SingleSample):
    """One path that does not think."""

    def plan(self, prompt: PromptView) -> Plan:
        return replace(super().plan(prompt), mode="fast")


@dataclass(frozen=True)
class System:
    """A name, a controller (None for the one the model ships with) and a temperature."""

    name: str
    controller: Controller | None
    temperature: float = 1.0


def default_systems(token_cap: int) -> list[System]:
    """One sample, the cheap alternatives to it, full voting, and what the model ships with."""
    return [
        System("one sample", SingleSample(token_cap)),
        System("greedy", SingleSample(token_cap), temperature=0.0),
        System("fast", FastSample(token_cap)),
        System(f"majority of {PATHS}", MajorityVote(PATHS, token_cap)),
        System(f"gated {PATHS}", None),
    ]
