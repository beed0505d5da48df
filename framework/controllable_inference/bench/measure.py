"""From recorded problems to figures of every system on each of them, by replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from controllable_inference.bench import flops
from controllable_inference.bench.flops import ModelShape
from controllable_inference.bench.problem_sets import PATHS, TOKEN_CAP
from controllable_inference.bench.replaced import replaced
from controllable_inference.bench.sweep import Control, Group
from controllable_inference.core.controller import Controller
from controllable_inference.core.policy import Policy
from controllable_inference.core.request import RequestBudget
from controllable_inference.core.views import Answer, Decision, Plan, PromptView, RequestView
from controllable_inference.learn.records import ProblemRecord
from controllable_inference.learn.replay import Replayed, prepare, replay

FIELDS = (
    "right",
    "tokens",
    "flops",  # of the model
    "control_flops",  # of gate, budget predictor and policy
    "chain",  # tokens of the longest chain of paths that waited for each other
    "started",
    "pruned",
    "stopped",
    "all_right",  # started paths that would have ended right
    "kept_right",  # those of them that were not pruned
    "coefficient",
    "fast",
)
LIMITS = RequestBudget(max_paths=PATHS, max_tokens=TOKEN_CAP)


@dataclass(frozen=True)
class SeenPath:
    """What a gate said of a path at each boundary, as probabilities; none without a gate."""

    right: bool
    tokens: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class SeenProblem:
    """A recorded problem without its features. fast_right: of its path that did not think, if it has one."""

    family: str
    level: int
    question: str
    prompt_tokens: int
    paths: tuple[SeenPath, ...]
    fast_right: bool | None

    @property
    def pass_rate(self) -> float:
        """Share of its paths that end right."""
        return sum(path.right for path in self.paths) / len(self.paths)


@dataclass(frozen=True)
class Measured:
    """outcomes (systems, problems, FIELDS)."""

    problems: list[SeenProblem]
    systems: list[str]
    outcomes: np.ndarray

    def of(self, system: str, field: str) -> np.ndarray:
        """One figure of one system, a problem."""
        return self.outcomes[self.systems.index(system), :, FIELDS.index(field)]

    def where(self, numbers: Sequence[int] | np.ndarray) -> Measured:
        """Of these problems alone."""
        problems = [self.problems[int(number)] for number in numbers]
        return Measured(problems, self.systems, self.outcomes[:, np.asarray(numbers, dtype=int)])

    @classmethod
    def join(cls, parts: Sequence[tuple[Sequence[int], Measured]]) -> Measured:
        """Of portions, each with the numbers of its problems: the whole, in the order of the numbers."""
        numbers = np.concatenate([np.asarray(its, dtype=int) for its, _ in parts])
        order = np.argsort(numbers)
        problems = [problem for _, measured in parts for problem in measured.problems]
        outcomes = np.concatenate([measured.outcomes for _, measured in parts], axis=1)
        return cls([problems[at] for at in order], parts[0][1].systems, outcomes[:, order])


class _Watched:
    """Another controller, a look at the paths as it saw them last, and how often its policy was asked."""

    def __init__(self, inner: Controller) -> None:
        self.inner = inner
        self.policy: Policy | None = getattr(inner, "policy", None)
        self.most_paths = inner.most_paths
        self.needs_prompt_hidden = inner.needs_prompt_hidden
        self.needs_features = inner.needs_features
        self.needs_siblings = inner.needs_siblings
        self.tokens: list[int] = []
        self.questions = 0

    def plan(self, prompt: PromptView) -> Plan:
        return self.inner.plan(prompt)

    def score(self, features: Tensor) -> Tensor:
        return self.inner.score(features)

    def decide(self, request: RequestView) -> list[Decision]:
        if self.policy is None:
            return self.inner.decide(request)
        choose = self.policy.choose

        def counted(state: Sequence[float]) -> str:
            self.questions += 1
            return choose(state)

        with replaced(self.policy, "choose", counted):  # not every decision asks the net
            return self.inner.decide(request)

    def answer(self, request: RequestView) -> Answer:
        self.tokens = [path.tokens for path in request.paths]
        return self.inner.answer(request)


def measure(
    records: Sequence[ProblemRecord], groups: Sequence[Group], control: Control, shape: ModelShape
) -> Measured:
    """Every system of `groups` on every recorded problem."""
    names = [system.name for group in groups for system in group.systems]
    rows = np.zeros((len(names), len(records), len(FIELDS)))
    for number, record in enumerate(records):
        at = 0
        for group in groups:
            recorded = record if group.score is None else prepare(record, group.score)
            for system in group.systems:
                controller = system.controller_for(record.question)
                assert controller is not None
                watched = _Watched(controller)
                replayed = replay(recorded, watched, LIMITS)
                rows[at, number] = _row(record, replayed, watched, group, control, shape)
                at += 1
    return Measured([_seen(record, control) for record in records], names, rows)


def _row(
    record: ProblemRecord,
    replayed: Replayed,
    watched: _Watched,
    group: Group,
    control: Control,
    shape: ModelShape,
) -> tuple[float, ...]:
    prompt = len(record.prompt_hidden)
    extra = 0
    if group.gate_dim and watched.needs_features and not replayed.fast:
        ran = zip(record.paths, watched.tokens, strict=False)
        extra += flops.gate(group.gate_dim, sum(sum(end <= t for end in p.boundaries) for p, t in ran))
    if watched.policy is not None:
        extra += flops.linear(watched.policy.net, watched.questions)
    if watched.needs_prompt_hidden and control.budget_dims:
        extra += flops.budget(*control.budget_dims, prompt)
    return (
        replayed.right,
        replayed.tokens,
        flops.request(shape, prompt, watched.tokens),
        extra,
        replayed.steps_latency,
        replayed.started,
        replayed.pruned,
        replayed.stopped,
        replayed.all_right,
        replayed.kept_right,
        replayed.coefficient,
        replayed.fast,
    )


def _seen(record: ProblemRecord, control: Control) -> SeenProblem:
    said: list[tuple[float, ...]] = [() for _ in record.paths]
    if control.probability is not None:
        said = [path.scores for path in prepare(record, control.probability).slow]
    return SeenProblem(
        record.family,
        record.level,
        record.question,
        len(record.prompt_hidden),
        tuple(SeenPath(p.right, p.tokens, own) for p, own in zip(record.paths, said, strict=True)),
        record.fast[0].right if record.fast else None,
    )


def as_json(measured: Measured) -> dict[str, Any]:
    """Means by system, for people who look for one that the page leaves out."""
    means = measured.outcomes.mean(axis=1)
    return {
        name: dict(zip(FIELDS, (round(float(value), 4) for value in row), strict=True))
        for name, row in zip(measured.systems, means, strict=True)
    }
