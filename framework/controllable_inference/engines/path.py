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
from controllable_inference.core.equality import AnswerClasses
from controllable_inference.core.events import Event
from controllable_inference.core.request import Fate, RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, Plan, RequestView, Trial
from controllable_inference.engines.detokenizer import GrowingText
from controllable_inference.engines.prompt import PromptIds

if TYPE_CHECKING:
    from controllable_inference.engines.adapters.attached import Attached

_ids = itertools.count()


@dataclass(eq=False)
class Path:
    """One reasoning path, or a trial answer of one. It runs while `fate` is None."""

    group: PathGroup
    index: int
    key: int
    """Of its random numbers."""
    slot: int
    """Where its running statistics are kept."""
    table: list[int]
    """Its blocks of the KV cache."""
    computed: int
    """Positions whose keys and values are in the cache, the prompt's included."""
    stepping: bool
    """Whether its steps are watched, which ends with its thinking segment."""
    cap: int
    """Most tokens it may have."""
    tokens: list[int] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    """How many tokens it had at the end of each step."""
    score: float | None = None
    """The controller's, at the latest boundary."""
    scores: tuple[float, ...] = ()
    """One a boundary."""
    statistics: tuple[float, ...] | None = None
    """`features.STATISTICS` at the latest boundary."""
    at_boundary: bool = False
    reasoning_tokens: int = 0
    fate: Fate | None = None
    reason: str = ""
    """Why it ended: one of `request.REASONS`, or a controller's word."""
    detail: str = ""
    """The figures behind the reason, for people."""
    text: str = ""
    step_ends: tuple[int, ...] = ()
    """Where in `text` each step ended."""
    answer: str | None = None
    answer_key: str | None = None
    """By which equal answers meet."""
    growing: GrowingText | None = None
    """Its text while it runs, where somebody needs that."""
    to_write: list[int] = field(default_factory=list)
    """Tokens to be written behind its newest one, as soon as that is computed."""
    written: int = 0
    """How many tokens it had after the latest writing."""
    closed: str = ""
    """Why its thinking was ended by force."""
    trial_of: Path | None = None
    """The path that it tries an answer for, if it is a trial."""
    trial_at: int = 0
    """How many tokens that path had when the trial began."""
    trials: tuple[Trial, ...] = ()
    """Those of this path that have ended."""

    @property
    def newest_is_written(self) -> bool:
        """Whether its newest token was not drawn but written into it."""
        return self.written == len(self.tokens)

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

    @property
    def is_computed(self) -> bool:
        """All its tokens are, and the next one can be drawn."""
        return self.computed == len(self.group.prompt) + len(self.tokens)

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
            self.trials,
        )


@dataclass(eq=False)
class PathGroup:
    """One request and all its paths, which advance side by side: all of them take part in a step, or none."""

    ids: PromptIds
    sampling: SamplingParams
    budget: RequestBudget
    controller: Controller
    traits: Traits
    """The controller's."""
    on_event: Callable[[Event], None]
    streaming: bool
    seed: int
    submitted_at: float
    row_bound: int
    """Most rows it can take before it has a plan."""
    counted: bool = True
    """Whether metrics tell of it."""
    id: int = field(default_factory=lambda: next(_ids))
    prompt: list[int] = field(default_factory=list)
    """The ids that are continued: `ids.slow` or `ids.fast`."""
    prompt_table: list[int] = field(default_factory=list)
    prompt_computed: int = 0
    prompt_hidden: list[Tensor] = field(default_factory=list)
    prompt_logits: Tensor | None = None
    """(vocabulary,): what every path's first token is drawn from."""
    plan: Plan | None = None
    paths: list[Path] = field(default_factory=list)
    starting: list[Path] = field(default_factory=list)
    """Paths that have no token yet."""
    trying: list[Path] = field(default_factory=list)
    """Trial answers that run."""
    trial_tokens: int = 0
    """Drawn for trial answers."""
    agreement: Agreement = field(default_factory=Agreement)
    answers: AnswerClasses = field(default_factory=lambda: AnswerClasses("number"))
    adapter: Attached | None = None
    admitted_at: float | None = None
    first_token_at: float | None = None
    leader: int | None = None
    """The path that is streamed."""
    ending: tuple[str, str] | None = None
    """Reason and detail of an end that waits for one path's answer."""
    sent: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By path: how many characters of its reasoning and of its answer were streamed."""
    _ended: int = 0

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
    def running_rows(self) -> list[Path]:
        """Its running paths, and the trials beside them."""
        return [*self.running_paths, *self.trying]

    @property
    def all_rows(self) -> list[Path]:
        """All its paths, ended ones too, and the trials that run."""
        return [*self.paths, *self.trying]

    @property
    def rows(self) -> int:
        """Rows to hold for it: those that run, or as many as it may come to have."""
        if self.plan is None or self.plan.most_paths > self.plan.paths:
            return self.most_paths + len(self.trying)
        return len(self.running_rows)

    @property
    def most_paths(self) -> int:
        """Most paths it may have running at once."""
        return self.row_bound if self.plan is None else min(self.plan.most_paths, self.row_bound)

    @property
    def sent_answer(self) -> int:
        """Characters of the answer that have been streamed already."""
        return max((content for _, content in self.sent.values()), default=0)

    def take_ended(self) -> bool:
        """Whether paths have finished, or trials ended, since the last time this was asked."""
        ended = sum((p.fate == "kept") + len(p.trials) for p in self.paths)
        before, self._ended = self._ended, ended
        return ended > before

    def view(self, now: float) -> RequestView:
        assert self.plan is not None
        left = None if self.deadline_at is None else max(0.0, self.deadline_at - now)
        return RequestView(self.plan, tuple(p.view() for p in self.paths), left)
