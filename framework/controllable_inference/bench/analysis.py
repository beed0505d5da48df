"""From what was measured on every problem to figures with intervals. Pure: no model, no files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from controllable_inference.bench import problem_sets
from controllable_inference.bench.figures import (
    Budget,
    Frontier,
    Kind,
    LiveRow,
    Outside,
    Point,
    Pruning,
    Row,
    SeedRow,
)
from controllable_inference.bench.frontier import (
    LARGEST_LOSS,
    Setting,
    accuracy_at,
    efficient,
    mix_at,
    no_loss,
)
from controllable_inference.bench.live import Served
from controllable_inference.bench.measure import Measured
from controllable_inference.bench.sweep import SHIPPED
from controllable_inference.bench.systems import System, Timing
from controllable_inference.learn.problems import Cell
from controllable_inference.learn.statistics import Estimate, Interval, Resamples, auc, spearman

FULL, SINGLE = f"SC@{problem_sets.PATHS}", "SC@1"
RETENTION = 0.98
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
VOTING = "SC"
COSTS = ("tokens", "flops", "chain")
RIVALS = ("AC", "ESC", "DeepConf online")
"""Methods that one setting is chosen of, to be shown and served beside the shipped control."""


@dataclass(frozen=True)
class Method:
    """A method and the names of its settings."""

    name: str
    timing: Timing
    settings: list[str]


def methods_of(systems: Sequence[System]) -> list[Method]:
    """In the order in which their first settings appear."""
    names: dict[str, list[System]] = defaultdict(list)
    for system in systems:
        names[system.method].append(system)
    return [Method(name, its[0].timing, [s.name for s in its]) for name, its in names.items()]


class Table:
    """Measurements of some problems, with one set of resamples for all figures."""

    def __init__(self, measured: Measured, rounds: int = 2000) -> None:
        self.measured = measured
        self.resamples = Resamples(len(measured.problems), rounds)
        self._means: dict[tuple[str, str], Estimate] = {}

    def mean(self, system: str, field: str) -> Estimate:
        """A figure of a system, a problem."""
        key = (system, field)
        if key not in self._means:
            self._means[key] = self.resamples.mean(self.measured.of(*key))
        return self._means[key]

    def accuracy(self, system: str) -> Estimate:
        return self.mean(system, "right")

    def flops(self, system: str) -> Estimate:
        """Model's and control's."""
        return self.mean(system, "flops") + self.mean(system, "control_flops")

    def cost(self, system: str, kind: str) -> Estimate:
        """kind: tokens, flops or chain."""
        return self.flops(system) if kind == "flops" else self.mean(system, kind)

    def share(self, system: str, field: str) -> Estimate:
        """Of the paths that were started."""
        return self.resamples.ratio(self.measured.of(system, field), self.measured.of(system, "started"))

    def recall(self, system: str) -> Estimate:
        """Of started paths that would have ended right, the share that was not pruned."""
        return self.resamples.ratio(
            self.measured.of(system, "kept_right"), self.measured.of(system, "all_right")
        )

    def stays_solved(self, system: str) -> Estimate:
        """Of the problems that full voting solves, the share that this system solves too."""
        solved = self.measured.of(FULL, "right")
        return self.resamples.ratio(self.measured.of(system, "right") * solved, solved)

    @cached_property
    def pass_rates(self) -> np.ndarray:
        return np.array([problem.pass_rate for problem in self.measured.problems])

    def row(self, system: str, timing: Timing) -> Row:
        difference = (self.accuracy(system) - self.accuracy(FULL)).interval
        return Row(
            system,
            timing,
            self.accuracy(system).interval,
            difference,
            no_loss(difference),
            self.mean(system, "tokens").interval,
            self.flops(system).interval,
            self.mean(system, "chain").interval,
            self.mean(system, "started").value,
            self.share(system, "pruned").value,
            self.share(system, "stopped").value,
        )

    def settings(self, names: Sequence[str], kind: str) -> list[Setting]:
        return [Setting(name, self.cost(name, kind), self.accuracy(name)) for name in names]


def with_greedy(measured: Measured, greedy: Measured) -> Measured:
    """The same problems with what greedy decoding made of them beside the rest."""
    outcomes = np.concatenate([measured.outcomes, greedy.outcomes])
    return Measured(measured.problems, [*measured.systems, *greedy.systems], outcomes)


# what is chosen on validation problems


def chosen_setting(table: Table, method: Method) -> str:
    """The cheapest setting as accurate as full voting less the allowed loss, else the most accurate one."""
    wanted = table.accuracy(FULL).value - LARGEST_LOSS
    tokens = {name: table.mean(name, "tokens").value for name in method.settings}
    good = [name for name in method.settings if table.accuracy(name).value >= wanted - 1e-12]
    if good:
        return min(good, key=tokens.__getitem__)
    return max(method.settings, key=lambda name: (table.accuracy(name).value, -tokens[name]))


def chosen_pruning(table: Table, names: Sequence[str], kept: str) -> str | None:
    """The setting that prunes most while it keeps enough; kept: `recall` or `stays_solved`."""
    keeps = [name for name in names if getattr(table, kept)(name).value >= RETENTION]
    return max(keeps, key=lambda name: table.share(name, "pruned").value, default=None)


def efficient_settings(table: Table, method: Method) -> list[str]:
    """A method's settings worth having: those that no other of its own beats, by rising tokens."""
    return efficient({n: (table.mean(n, "tokens").value, table.accuracy(n).value) for n in method.settings})


def failure_by_cell(measured: Measured) -> dict[Cell, float]:
    """Share of wrong paths by family and level."""
    rates: dict[Cell, list[float]] = defaultdict(list)
    for problem in measured.problems:
        rates[problem.family, problem.level].append(1 - problem.pass_rate)
    return {cell: float(np.mean(its)) for cell, its in rates.items()}


def lookup_table(measured: Measured) -> dict[Cell, float]:
    """Coefficients by family and level for a budget without a predictor: the predictor's own, dealt out to
    the cells by their failure rates, so that both spend alike.
    """
    given = measured.of(SHIPPED, "coefficient")
    failures = failure_by_cell(measured)
    order = sorted(failures, key=failures.__getitem__)
    return {cell: float(np.quantile(given, (n + 0.5) / len(order))) for n, cell in enumerate(order)}


# figures of test problems


def point(table: Table, name: str) -> Point:
    return Point(
        name,
        table.accuracy(name).interval,
        (table.accuracy(name) - table.accuracy(FULL)).interval,
        table.mean(name, "tokens").interval,
        table.flops(name).interval,
        table.mean(name, "chain").interval,
    )


def frontier(
    table: Table, method: Method, efficient_names: Sequence[str], shipped_tokens: Estimate
) -> Frontier:
    """efficient_names: settings by rising tokens, chosen on validation problems."""
    costs = equal_costs(table, efficient_names)
    return Frontier(
        method.name,
        method.timing,
        [point(table, name) for name in efficient_names],
        costs["tokens"].interval,
        costs["tokens"].saved_against(table.mean(FULL, "tokens")).interval,
        costs["flops"].interval,
        costs["chain"].interval,
        (shipped_tokens - costs["tokens"]).interval,
    )


def equal_costs(table: Table, names: Sequence[str]) -> dict[str, Estimate]:
    """Costs by kind at the accuracy of full voting less the allowed loss; full voting is there to fall back
    to. All are those of one mix of settings, the one that takes fewest tokens: what one who spares tokens
    pays in FLOPs and waits for.
    """
    every = list(dict.fromkeys([*names, FULL]))
    mix = mix_at(table.settings(every, "tokens"), table.accuracy(FULL) - LARGEST_LOSS)
    return {kind: mix.of({name: table.cost(name, kind) for name in every}) for kind in COSTS}


def frontiers(validation: Table, test: Table, methods: Sequence[Method]) -> list[Frontier]:
    """Of all methods, the shipped control's first."""
    chosen = {method.name: efficient_settings(validation, method) for method in methods}
    shipped = equal_costs(test, chosen[SHIPPED])["tokens"]
    ordered = sorted(methods, key=lambda method: method.name != SHIPPED)
    return [frontier(test, method, chosen[method.name], shipped) for method in ordered]


def errors_saved(table: Table, voting: Sequence[str]) -> tuple[Interval, Interval]:
    """The shipped control's errors against those of one sample, and of voting with as many tokens."""
    wrong = 1 - table.accuracy(SHIPPED)
    equal = accuracy_at(table.settings(voting, "tokens"), table.mean(SHIPPED, "tokens"))
    return (
        wrong.saved_against(1 - table.accuracy(SINGLE)).interval,
        wrong.saved_against(1 - equal).interval,
    )


def pruning(table: Table, name: str) -> Pruning:
    bound = 1 - table.resamples.mean(table.pass_rates) * RETENTION
    pruned = table.share(name, "pruned")
    return Pruning(
        name,
        pruned.interval,
        table.recall(name).interval,
        table.stays_solved(name).interval,
        table.mean(name, "tokens").interval,
        (pruned / bound).interval,
    )


def seed_rows(seeds: Mapping[int, Measured], systems: Sequence[str]) -> list[SeedRow]:
    """Every system with every seed on the same problems."""
    tables = {seed: Table(measured) for seed, measured in seeds.items()}
    return [
        SeedRow(system, seed, table.accuracy(system).interval, table.mean(system, "tokens").interval)
        for system in systems
        for seed, table in tables.items()
    ]


def budget_figures(validation: Measured, test: Measured) -> Budget:
    """The predictor's coefficients beside a look-up of what the problem's family and level is like."""
    failures = np.array([1 - problem.pass_rate for problem in test.problems])
    by_cell = failure_by_cell(validation)
    coefficients = test.of(SHIPPED, "coefficient")
    looked_up = np.array([by_cell[p.family, p.level] for p in test.problems])
    mostly = [float(failure > 0.5) for failure in failures]
    return Budget(
        spearman(coefficients, failures),
        spearman(looked_up, failures),
        auc(coefficients, mostly),
        auc(looked_up, mostly),
    )


def live_rows(
    served: Sequence[Served],
    timings: Mapping[str, Timing],
    replayed: Mapping[int, Measured],
    rounds: int = 2000,
) -> list[LiveRow]:
    """replayed: by seed, all problems of that seed in the order of their numbers."""
    full = next((s for s in served if s.system == FULL), None)
    if full is None:
        return []
    return [_live_row(own, full, timings[own.system], replayed, rounds) for own in served]


def _live_row(
    own: Served, full: Served, timing: Timing, replayed: Mapping[int, Measured], rounds: int
) -> LiveRow:
    numbers = sorted({one.number for one in own.answered})
    place = {number: at for at, number in enumerate(numbers)}
    resamples = Resamples(len(own.answered), rounds) if len(numbers) == len(own.answered) else None
    rows = np.array([[one.right, one.tokens, one.seconds] for one in own.answered], dtype=float)
    again = np.array(
        [
            [replayed[one.seed].of(own.system, field)[one.number] for field in ("right", "tokens")]
            for one in own.answered
        ]
    )
    if resamples is None:  # a problem may have been served with several seeds: it is drawn as one
        resamples = Resamples(len(numbers), rounds)
        which = np.array([place[one.number] for one in own.answered])
        count = np.bincount(which)
        rows = np.stack([np.bincount(which, column) / count for column in rows.T], axis=1)
        again = np.stack([np.bincount(which, column) / count for column in again.T], axis=1)
    accuracy, tokens = (resamples.mean(rows[:, n]).interval for n in (0, 1))
    its_accuracy, its_tokens = (resamples.mean(again[:, n]).interval for n in (0, 1))
    return LiveRow(
        own.system,
        timing,
        len(own.answered),
        resamples.quantile(rows[:, 2], 0.5).interval,
        resamples.quantile(rows[:, 2], 0.99).interval,
        own.problems_per_second,
        own.problems_per_second / full.problems_per_second,
        [its.seconds / mine.seconds for its, mine in zip(full.blocks, own.blocks, strict=True)],
        own.control_share,
        accuracy,
        its_accuracy,
        tokens,
        its_tokens,
        _agree(accuracy, its_accuracy) and _agree(tokens, its_tokens),
    )


def _agree(one: Interval, other: Interval) -> bool:
    """Whether each mean lies in the other's interval."""
    return one.low <= other.mean <= one.high and other.low <= one.mean <= other.high


def kinds(measured: Measured) -> list[Kind]:
    """By family, then by level."""
    problems = measured.problems
    groups = {p.family: [q.family == p.family for q in problems] for p in problems}
    levels = sorted({p.level for p in problems})
    groups |= {f"level {level}": [q.level == level for q in problems] for level in levels}
    return [_kind(name, measured.where(np.flatnonzero(own))) for name, own in groups.items()]


def _kind(name: str, measured: Measured) -> Kind:
    def means(system: str) -> tuple[float, float]:
        return float(measured.of(system, "right").mean()), float(measured.of(system, "tokens").mean())

    rate = float(np.mean([problem.pass_rate for problem in measured.problems]))
    return Kind(name, len(measured.problems), rate, means(FULL), means(SHIPPED))


def outside(measured: Mapping[str, Measured], shown: Mapping[str, Timing]) -> list[Outside]:
    """shown: systems with their timings."""
    found = []
    for name, its in measured.items():
        table = Table(its)
        rows = [table.row(system, timing) for system, timing in shown.items()]
        found.append(Outside(name, len(its.problems), rows))
    return found


def shown_systems(
    chosen: Sequence[str], methods: Sequence[Method], ablations: Sequence[str]
) -> dict[str, Timing]:
    """What tables show, cheap ones first, with timings."""
    timings: dict[str, Timing] = {name: method.timing for method in methods for name in method.settings}
    names = ["fast", SINGLE, "SC@4", FULL, *chosen, SHIPPED, *ablations, "oracle"]
    return {name: timings[name] for name in names if name in timings}


def chosen_settings(validation: Table, methods: Sequence[Method]) -> dict[str, str]:
    """Of methods that are shown with one setting, that setting."""
    shown = (*RIVALS, "AC, all at once", "random", "STEP-like, threshold", "ST-BoN", "weighted SC")
    by_name = {method.name: method for method in methods}
    return {name: chosen_setting(validation, by_name[name]) for name in shown if name in by_name}
