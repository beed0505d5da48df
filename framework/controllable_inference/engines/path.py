"""A request inside the engine: a prompt, and the paths that continue it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from controllable_inference.core.agreement import Agreement
from controllable_inference.core.checks import Traits
from controllable_inference.core.controller import Controller
from controllable_inference.core.events import Event
from controllable_inference.core.request import Fate, RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, Plan, RequestView
from controllable_inference.engines.detokenizer import GrowingText
from controllable_inference.engines.prompt import PromptIds

if TYPE_CHECKING:
    from controllable_inference.engines.adapters.attached import Attached

_ids = itertools.count()


@dataclass(eq=False)
class Path:
    """One reasoning path. It runs while `fate` is None.

    computed: positions whose keys and values are in the cache, the prompt's included.
    key: of its random numbers. slot: where its running statistics are kept. stepping: its steps are
    watched, which ends with its thinking segment. scores: one a boundary. statistics: at the latest boundary.
    boundaries: how many tokens it had at the end of each step. answer_key: by which equal answers meet.
    """

    group: PathGroup
    index: int
    key: int
    slot: int
    table: list[int]
    computed: int
    stepping: bool
    tokens: list[int] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    score: float | None = None
    scores: tuple[float, ...] = ()
    statistics: tuple[float, ...] | None = None
    at_boundary: bool = False
    reasoning_tokens: int = 0
    fate: Fate | None = None
    reason: str = ""
    detail: str = ""
    text: str = ""
    step_ends: tuple[int, ...] = ()
    answer: str | None = None
    answer_key: str | None = None
    growing: GrowingText | None = None

    @property
    def steps(self) -> int:
        return len(self.boundaries)

    @property
    def running(self) -> bool:
        return self.fate is None

    @property
    def caught_up(self) -> bool:
        """Only its newest token is still to be computed."""
        return self.computed == len(self.group.prompt) + len(self.tokens) - 1

    def view(self) -> PathView:
        return PathView(
            self.index,
            self.fate or "running",
            len(self.tokens),
            self.steps,
            self.score,
            self.at_boundary,
            self.answer,
            self.answer_key,
            self.reason,
            self.scores,
            self.statistics,
        )


@dataclass(eq=False)
class PathGroup:
    """One request and all its paths, which advance side by side: all of them take part in a step, or none.

    traits: the controller's. prompt: the ids being continued (slow or fast). prompt_logits (vocabulary,):
    what every path's first token is drawn from. starting: paths that still have no token. row_bound: most
    rows it can take before it has a plan. counted: whether metrics tell of it.
    """

    ids: PromptIds
    sampling: SamplingParams
    budget: RequestBudget
    controller: Controller
    traits: Traits
    on_event: Callable[[Event], None]
    streaming: bool
    seed: int
    submitted_at: float
    row_bound: int
    counted: bool = True
    id: int = field(default_factory=lambda: next(_ids))
    prompt: list[int] = field(default_factory=list)
    prompt_table: list[int] = field(default_factory=list)
    prompt_computed: int = 0
    prompt_hidden: list[Tensor] = field(default_factory=list)
    prompt_logits: Tensor | None = None
    plan: Plan | None = None
    paths: list[Path] = field(default_factory=list)
    starting: list[Path] = field(default_factory=list)
    agreement: Agreement = field(default_factory=Agreement)
    adapter: Attached | None = None
    admitted_at: float | None = None
    first_token_at: float | None = None
    leader: int | None = None
    sent: dict[int, tuple[int, int]] = field(default_factory=dict)
    _finished: int = 0

    def __post_init__(self) -> None:
        self.prompt = self.prompt or self.ids.slow

    @property
    def deadline_at(self) -> float | None:
        return None if self.budget.deadline is None else self.submitted_at + self.budget.deadline

    @property
    def prompt_done(self) -> bool:
        return self.prompt_computed == len(self.prompt)

    @property
    def running_paths(self) -> list[Path]:
        return [p for p in self.paths if p.fate is None]

    @property
    def rows(self) -> int:
        """Rows to hold for it: its running paths, or as many as it may come to have."""
        if self.plan is None or self.plan.most_paths > self.plan.paths:
            return self.most_paths
        return len(self.running_paths)

    @property
    def most_paths(self) -> int:
        """Most paths it may have running at once."""
        return self.row_bound if self.plan is None else min(self.plan.most_paths, self.row_bound)

    @property
    def sent_answer(self) -> int:
        """Characters of the answer that have been streamed already."""
        return max((content for _, content in self.sent.values()), default=0)

    def take_finished(self) -> bool:
        """Whether paths have finished since the last time this was asked."""
        finished = sum(p.fate == "kept" for p in self.paths)
        before, self._finished = self._finished, finished
        return finished > before

    def view(self, now: float) -> RequestView:
        assert self.plan is not None
        left = None if self.deadline_at is None else max(0.0, self.deadline_at - now)
        return RequestView(self.plan, tuple(p.view() for p in self.paths), left)
