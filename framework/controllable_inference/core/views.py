"""What a controller sees, and what it may answer. Values only: it never touches engine state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from controllable_inference.core.features import STATISTICS
from controllable_inference.core.request import RequestBudget, SamplingParams

Mode = Literal["slow", "fast"]


@dataclass(frozen=True)
class PromptView:
    """A request whose prompt has just been computed.

    hidden (tokens, hidden size): final hidden states of the prompt, only for a controller that asked for
    them. room: tokens that still fit behind the prompt, in the model's context and in the KV cache.
    budget_scale: of the domain adapter that the request names; multiplies its coefficient. closing: tokens
    that it takes to end a thinking segment by force; None where that can't be done.
    """

    tokens: int
    hidden: Tensor | None
    room: int
    sampling: SamplingParams
    budget: RequestBudget
    budget_scale: float = 1.0
    closing: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a request gets: `paths` at once, `token_cap` tokens for each, thinking (slow) or not (fast).

    max_paths: most paths that may ever run at once, for controllers that spawn; a plan without one starts its
    `paths`, and no more. thinking_cap: tokens after which a path that still thinks is closed, so that it can
    answer with what is left of its token cap; None closes nothing.
    """

    paths: int
    token_cap: int
    mode: Mode = "slow"
    coefficient: float = 1.0
    limited_by: str = "model"
    max_paths: int | None = None
    thinking_cap: int | None = None

    @property
    def most_paths(self) -> int:
        return max(self.paths, self.max_paths or 0)

    @property
    def is_single(self) -> bool:
        """Whether there is one path and never another, whose answer no vote can change."""
        return self.paths == 1 and self.max_paths is None


@dataclass(frozen=True)
class Trial:
    """What a path would have answered after `tokens` tokens, had its thinking ended there.

    answer, key: as a path has them; None where it came to no answer.
    """

    tokens: int
    answer: str | None
    key: str | None


@dataclass(frozen=True)
class PathView:
    """One path. state: running, or its fate. key: by which equal answers meet, None for one that can't be
    compared.

    score, scores: at the latest boundary, and at each so far. statistics: `features.STATISTICS` at the latest
    boundary, in that order. Without a boundary so far, or for a controller that needs no features: None, ().
    trials: those that were asked for by `Probe` and have ended, in their order.
    """

    index: int
    state: Literal["running", "kept", "pruned", "stopped", "cancelled"]
    tokens: int
    steps: int
    score: float | None
    at_boundary: bool = False
    answer: str | None = None
    key: str | None = None
    reason: str = ""
    scores: tuple[float, ...] = ()
    statistics: tuple[float, ...] | None = None
    trials: tuple[Trial, ...] = ()

    def statistic(self, name: str) -> float | None:
        """One of `statistics`; None where there are none. Raises ValueError for a name that none has."""
        at = STATISTICS.index(name)
        return None if self.statistics is None else self.statistics[at]


@dataclass(frozen=True)
class RequestView:
    """One request. time_left: seconds until its deadline, None without one."""

    plan: Plan
    paths: tuple[PathView, ...]
    time_left: float | None = None

    @property
    def running(self) -> list[PathView]:
        return [p for p in self.paths if p.state == "running"]

    @property
    def finished(self) -> list[PathView]:
        """Paths that came to their natural end or their token cap, with or without an answer."""
        return [p for p in self.paths if p.state == "kept"]


@dataclass(frozen=True)
class Prune:
    """Drop one running path; it has no vote. detail: for people, the figures behind it ("0.21 ≤ 0.30")."""

    path: int
    reason: str = "gate"
    detail: str = field(default="", compare=False)


@dataclass(frozen=True)
class Stop:
    """End the request now: what still runs is stopped, what has finished is voted on. detail: for people.

    Where no path has an answer yet, one that thinks is closed, and the request ends with its answer.
    """

    reason: str = "decided"
    detail: str = field(default="", compare=False)


@dataclass(frozen=True)
class Spawn:
    """Start more paths of the same prompt, as far as the plan's `max_paths` allows."""

    paths: int = 1


@dataclass(frozen=True)
class Close:
    """End the thinking of one running path by force: it writes its answer next, and votes with it.

    Nothing happens to a path that no longer thinks. detail: for people.
    """

    path: int
    reason: str = "closed"
    detail: str = field(default="", compare=False)


@dataclass(frozen=True)
class Inject:
    """Write `text` into one running path as if the model had written it; it goes on from there.

    Text that would not leave the path room to answer is not written.
    """

    path: int
    text: str


@dataclass(frozen=True)
class Probe:
    """Have one running path try an answer, beside its thinking, which goes on: a trial.

    The controller is asked again when the trial has ended. There is none where the path does not think, tries
    an answer already, or has not ended a step just now, nor where no row or memory is free for it.
    """

    path: int


Decision = Prune | Stop | Spawn | Close | Inject | Probe


@dataclass(frozen=True)
class Answer:
    """winner: index of the path whose text is shown, None if there is nothing to show.

    confidence: the winning answer's share of all weight. weights: weight by answer.
    """

    winner: int | None
    confidence: float
    weights: dict[str, float]
