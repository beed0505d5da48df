"""A controller of one's own: four paths, which end once two of them agree.

with ControllableInference.from_pretrained(...) as model:
    model.generate(question, controller=FirstTwoAgree())
"""

from controllable_inference.core.views import Answer, Decision, Plan, PromptView, Prune, RequestView, Stop
from controllable_inference.core.vote import one_each, tally, vote
from torch import Tensor


class FirstTwoAgree:
    """Also drops paths that are unsure of a step, but for the last one."""

    most_paths = 4
    needs_prompt_hidden = False
    """`plan` does without the prompt's hidden states."""
    needs_features = True
    """Paths have statistics, and `score` is called at ends of steps."""
    needs_siblings = False
    """No statistic compares a path with the others."""

    def plan(self, prompt: PromptView) -> Plan:
        longest = min(2000, prompt.room)
        return Plan(paths=4, token_cap=longest, thinking_cap=max(1, longest * 3 // 4))

    def score(self, features: Tensor) -> Tensor:
        """The same for all: this one decides by entropy, which views show."""
        return features.new_full((len(features),), 0.5)

    def decide(self, request: RequestView) -> list[Decision]:
        if max(tally(request.paths, one_each).values(), default=0) >= 2:
            return [Stop("two agree")]
        unsure = [p for p in request.running if p.at_boundary and (p.statistic("step_entropy") or 0) > 1]
        return [Prune(path.index, "unsure") for path in unsure[: len(request.running) - 1]]

    def answer(self, request: RequestView) -> Answer:
        return vote(request.paths, one_each)
