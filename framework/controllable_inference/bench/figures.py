"""What an evaluation comes to: plain values, that pages and plots are made from and JSON keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from controllable_inference.bench.systems import Timing
from controllable_inference.learn.statistics import Bin, Interval

Verdict = Literal["reached", "reached, uncertain", "not reached", "not measured"]
"""Uncertain: as measured, but the 95 % interval holds values that would not do."""


@dataclass(frozen=True)
class Row:
    """One system. difference: of its accuracy and that of full voting, paired by problem.

    chain: tokens of the longest chain of paths that waited for each other. paths, pruned, stopped: started
    paths a problem, and shares of them.
    """

    system: str
    timing: Timing
    accuracy: Interval
    difference: Interval
    no_loss: bool
    tokens: Interval
    flops: Interval
    chain: Interval
    paths: float
    pruned: float
    stopped: float


@dataclass(frozen=True)
class Point:
    """One setting on a frontier. difference: of its accuracy and that of full voting, paired by problem."""

    name: str
    accuracy: Interval
    difference: Interval
    tokens: Interval
    flops: Interval
    chain: Interval


@dataclass(frozen=True)
class Frontier:
    """A method. points: its settings that were efficient on validation problems, by rising tokens.

    tokens, saved, flops, chain: at the accuracy of full voting less the allowed loss, with full voting as
    one more setting, all of the one mix of settings that takes fewest tokens; saved: tokens against full
    voting. against: tokens of the shipped control there, less this method's.
    """

    method: str
    timing: Timing
    points: list[Point]
    tokens: Interval
    saved: Interval
    flops: Interval
    chain: Interval
    against: Interval


@dataclass(frozen=True)
class Discrimination:
    """How well a gate tells right paths from wrong ones at a share of their steps."""

    share: float
    pooled: Interval
    within: Interval


@dataclass(frozen=True)
class Pruning:
    """Pruning at one setting. recall: of paths that would have ended right. stays_solved: of the problems
    that full voting solves. of_bound: against what one who knew could prune at 98 % recall.
    """

    setting: str
    pruned: Interval
    recall: Interval
    stays_solved: Interval
    tokens: Interval
    of_bound: Interval


@dataclass(frozen=True)
class Gate:
    """What the gate knows. single: accuracy of one sample. bound: what could be pruned at 98 % recall.

    by_solved, by_recall: settings chosen on validation problems for the two readings of key-path retention;
    None where none of them kept enough there. random_tokens: what random pruning pays for 98 % of the
    problems to stay solved; against_random: by_solved less that.
    """

    discrimination: list[Discrimination]
    bins: list[Bin]
    bin_outcomes: list[Interval]
    error: Interval
    single: float
    bound: float
    by_solved: Pruning | None
    random_tokens: Interval | None
    against_random: Interval | None
    by_recall: Pruning | None
    curve: list[Pruning]


@dataclass(frozen=True)
class Third:
    """Problems of like difficulty. flops: relative change from full voting to the shipped control. paths:
    that the shipped control starts for one.
    """

    name: str
    pass_rate: float
    full_tokens: Interval
    tokens: Interval
    flops: Interval
    difference: Interval
    paths: Interval


@dataclass(frozen=True)
class SeedRow:
    """A system with one seed of sampling, on the problems that all seeds saw."""

    system: str
    seed: int
    accuracy: Interval
    tokens: Interval


@dataclass(frozen=True)
class Budget:
    """How well coefficients follow the failure rate of unseen problems, beside a table by family and
    level.
    """

    predictor: float
    lookup: float
    predictor_auc: float | None
    lookup_auc: float | None


@dataclass(frozen=True)
class LiveRow:
    """A served system, and the same paths of the same problems replayed. speedup: problems a second against
    full voting, in all; speedups: in each round.
    """

    system: str
    timing: Timing
    problems: int
    p50: Interval
    p99: Interval
    problems_per_second: float
    speedup: float
    speedups: list[float]
    control_share: float
    accuracy: Interval
    replayed_accuracy: Interval
    tokens: Interval
    replayed_tokens: Interval
    agrees: bool


@dataclass(frozen=True)
class Kind:
    """A family or a level. full, shipped: accuracy and path-tokens of both."""

    name: str
    problems: int
    pass_rate: float
    full: tuple[float, float]
    shipped: tuple[float, float]


@dataclass(frozen=True)
class Outside:
    """Problems out of distribution."""

    name: str
    problems: int
    rows: list[Row]


@dataclass(frozen=True)
class Goal:
    """A figure to reach. measured: in words and numbers."""

    what: str
    article: str
    aim: str
    measured: str
    verdict: Verdict


@dataclass(frozen=True)
class SecondModel:
    """Another model through the same harness."""

    name: str
    parameters: int
    task: str
    problems: int
    rows: list[Row]


@dataclass(frozen=True)
class Conditions:
    """Where figures come from. seconds: by stage."""

    model: str
    fingerprint: str
    date: str
    machine: str
    versions: dict[str, str]
    problems: int
    repeated: int
    seeds: int
    validation: int
    paths: int
    token_cap: int
    recorded_tokens: int
    seconds: dict[str, float]
    quick: bool


@dataclass(frozen=True)
class Figures:
    """Everything. rows: all systems that tables show. chosen: of methods shown with one
    setting, that setting.

    whole_tokens_saved: by the shipped control against full voting. errors_saved_single, errors_saved_voting:
    relative, against one sample, and against voting with as many tokens.
    """

    conditions: Conditions
    chosen: dict[str, str]
    rows: list[Row]
    frontiers: list[Frontier]
    gate: Gate | None
    thirds: list[Third]
    whole: Third
    whole_tokens_saved: Interval
    errors_saved_single: Interval
    errors_saved_voting: Interval
    seeds: list[SeedRow]
    budget: Budget | None
    live: list[LiveRow]
    kinds: list[Kind]
    outside: list[Outside]
    second: SecondModel | None = None
    goals: list[Goal] = field(default_factory=list)
