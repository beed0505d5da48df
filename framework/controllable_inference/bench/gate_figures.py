"""How well the gate tells right paths from wrong ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from controllable_inference.bench.analysis import (
    FULL,
    RETENTION,
    SHARES,
    Method,
    Table,
    chosen_pruning,
    pruning,
)
from controllable_inference.bench.figures import (
    Discrimination,
    Gate,
)
from controllable_inference.bench.frontier import (
    Setting,
    cost_at,
)
from controllable_inference.bench.sweep import PRUNING, UNGUARDED
from controllable_inference.learn.statistics import Estimate, Interval


def gate_figures(
    validation: Table, test: Table, methods: Sequence[Method], min_steps: int, by_rate: str = "latest score"
) -> Gate:
    """What the gate knows, and what pruning by it does."""
    settings = {method.name: method.settings for method in methods}
    by_solved = chosen_pruning(validation, [*settings[PRUNING], *settings[by_rate]], "stays_solved")
    by_recall = chosen_pruning(validation, settings[UNGUARDED], "recall")
    random_tokens = against = None
    if by_solved is not None:
        at_random = [
            Setting(name, test.mean(name, "tokens"), test.stays_solved(name))
            for name in (*settings["random"], FULL)
        ]
        level = Estimate(RETENTION, np.full(len(test.resamples.counts), RETENTION))
        needed = cost_at(at_random, level)
        random_tokens = needed.interval
        against = (test.mean(by_solved, "tokens") - needed).interval
    bins, outcomes, error = _calibration(test, min_steps)
    return Gate(
        [_discrimination(test, share) for share in SHARES],
        bins,
        outcomes,
        error,
        float(test.pass_rates.mean()),
        float(1 - RETENTION * test.pass_rates.mean()),
        None if by_solved is None else pruning(test, by_solved),
        random_tokens,
        against,
        None if by_recall is None else pruning(test, by_recall),
        [pruning(test, name) for name in settings[UNGUARDED]],
    )


def _discrimination(table: Table, share: float) -> Discrimination:
    rows = [
        (said[min(len(said) - 1, int(share * len(said)))], path.right, number)
        for number, problem in enumerate(table.measured.problems)
        for path in problem.paths
        if (said := path.probabilities)
    ]
    scores, right, numbers = (np.array(column) for column in zip(*rows, strict=True))
    found = table.resamples
    pooled, within = (f(scores, right.astype(float), numbers) for f in (found.auc, found.within_auc))
    return Discrimination(share, pooled.interval, within.interval)


def _calibration(table: Table, min_steps: int) -> tuple[list[Any], list[Interval], Interval]:
    """Over all boundaries at which a path may be pruned; a path weighs the same however many it has."""
    rows = [
        (probability, path.right, 1 / len(said), number)
        for number, problem in enumerate(table.measured.problems)
        for path in problem.paths
        for said in [path.probabilities[max(min_steps - 1, 0) :]]
        for probability in said
    ]
    scores, right, weights, numbers = (np.array(column) for column in zip(*rows, strict=True))
    return table.resamples.calibration(scores, right.astype(float), weights, numbers)
