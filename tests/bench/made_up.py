"""Measurements and figures out of thin air, for tests of what is made from them."""

import numpy as np
from controllable_inference.bench.figures import (
    Budget,
    Conditions,
    Discrimination,
    Figures,
    Frontier,
    Gate,
    Kind,
    LiveRow,
    Outside,
    Point,
    Pruning,
    Row,
    SecondModel,
    SeedRow,
    Third,
)
from controllable_inference.bench.measure import FIELDS, Measured, SeenPath, SeenProblem
from controllable_inference.learn.statistics import Bin, Interval


def seen(rates, paths=4, family="gcd", level=0):
    """Problems of these pass rates; a right path has twice the tokens of a wrong one, and rising scores."""
    found = []
    for rate in rates:
        right = [n < round(rate * paths) for n in range(paths)]
        its = tuple(SeenPath(r, 20 if r else 10, (0.5, 0.9) if r else (0.5, 0.1)) for r in right)
        found.append(SeenProblem(family, level, "?", 5, its, False))
    return found


def measured(problems, **systems):
    """Outcomes by system and field, each one value for all problems or one a problem; others are 1."""
    outcomes = np.ones((len(systems), len(problems), len(FIELDS)))
    for row, fields in enumerate(systems.values()):
        for field, values in fields.items():
            outcomes[row, :, FIELDS.index(field)] = values
    names = [name.replace("_at_", "@") for name in systems]
    return Measured(problems, names, outcomes)


def around(mean, width=0.1):
    return Interval(mean, mean - width * abs(mean), mean + width * abs(mean))


def row(system, accuracy, tokens, timing="parallel", no_loss=True):
    return Row(
        system,
        timing,
        around(accuracy, 0.03),
        Interval(accuracy - 0.7, accuracy - 0.705, accuracy - 0.695),
        no_loss,
        around(tokens),
        around(tokens * 5e6),
        around(tokens / 8),
        16.0,
        0.5,
        0.25,
    )


def frontier(method, cost, timing="parallel"):
    points = [
        Point(
            f"{method} {n}",
            around(0.5 + 0.1 * n, 0.03),
            Interval(-0.1, -0.11, -0.09),
            around(cost * n),
            around(cost * n * 5e6),
            around(cost * n / 8),
        )
        for n in (1, 2)
    ]
    return Frontier(
        method,
        timing,
        points,
        around(cost),
        around(0.5),
        around(cost * 5e6),
        around(cost / 8),
        Interval(-40.0, -60.0, -20.0),
    )


def pruning(setting, pruned, recall, solved):
    ends = [Interval(value, value - 0.01, value + 0.01) for value in (pruned, recall, solved)]
    return Pruning(setting, *ends, around(400), Interval(pruned / 0.5, 0.9, 1.1))


def figures(**changes):
    """All goals reached, unless changed."""
    gate = Gate(
        [Discrimination(s, around(0.95, 0.02), around(0.85, 0.02)) for s in (0.1, 0.25, 0.5, 0.75, 1.0)],
        [Bin(0.2, 0.18, 0.5), Bin(0.8, 0.83, 0.5)],
        [around(0.18), around(0.83)],
        Interval(0.02, 0.01, 0.028),
        0.5,
        0.51,
        pruning("gate, pruning only, 0.1", 0.7, 0.97, 0.995),
        Interval(600.0, 550.0, 650.0),
        Interval(-200.0, -250.0, -150.0),
        pruning("gate, pruning only, unguarded, 0.05", 0.45, 0.995, 0.99),
        [pruning(f"gate, pruning only, unguarded, {p}", p, 1 - p / 10, 1.0) for p in (0.05, 0.4)],
    )
    thirds = [
        Third(name, rate, around(1000), around(300), change, Interval(0.0, -0.005, 0.005), around(paths))
        for name, rate, change, paths in (
            ("easy third", 0.9, Interval(-0.8, -0.82, -0.78), 2.4),
            ("middle third", 0.5, Interval(-0.5, -0.52, -0.48), 4.0),
            ("hard third", 0.1, Interval(0.1, 0.05, 0.15), 9.5),
        )
    ]
    live = [
        LiveRow(
            system,
            "parallel",
            48,
            Interval(p50, p50 - 0.02, p50 + 0.02),
            Interval(2 * p50, 2 * p50 - 0.1, 2 * p50 + 0.1),
            speed,
            speed / 2,
            [speed / 2 - 0.1, speed / 2 + 0.1],
            share,
            around(0.7),
            around(0.7),
            around(300),
            around(300),
            True,
        )
        for system, p50, speed, share in (("SC@16", 1.0, 2.0, 0.01), ("shipped", 0.4, 5.0, 0.02))
    ]
    made = {
        "conditions": Conditions(
            "nano",
            "0123456789ab",
            "2026-01-02",
            "2 cores of a machine",
            {"torch": "2.0"},
            1008,
            240,
            3,
            192,
            16,
            512,
            3_000_000,
            {"recording and replay": 600.0, "serving": 300.0},
            False,
        ),
        "chosen": {"AC": "AC 0.9"},
        "rows": [
            row("greedy", 0.69, 70),
            row("SC@1", 0.5, 75),
            row("SC@16", 0.7, 1200),
            row("AC 0.9", 0.7, 500, "sequential"),
            row("shipped", 0.7, 350),
        ],
        "frontiers": [
            frontier("shipped", 300),
            frontier("SC", 600),
            frontier("AC", 500, "sequential"),
            frontier("ESC", 500, "sequential"),
            frontier("DeepConf online", 700, "sequential"),
        ],
        "gate": gate,
        "thirds": thirds,
        "whole": Third(
            "all", 0.5, around(1000), around(350), Interval(-0.6, -0.62, -0.58), around(0.001), around(5.3)
        ),
        "whole_tokens_saved": Interval(0.7, 0.68, 0.72),
        "errors_saved_single": Interval(0.45, 0.42, 0.48),
        "errors_saved_voting": Interval(0.2, 0.16, 0.24),
        "seeds": [SeedRow(s, n, around(0.7), around(350)) for s in ("SC@16", "shipped") for n in (1, 2, 3)],
        "budget": Budget(0.7, 0.6, 0.85, None),
        "live": live,
        "kinds": [Kind("gcd", 500, 0.5, (0.7, 1200.0), (0.71, 350.0))],
        "outside": [Outside("harder level", 60, [row("SC@16", 0.2, 2000), row("shipped", 0.19, 900)])],
        "second": SecondModel("other", 135_000_000, "sums", 32, [row("SC@16", 0.5, 400)]),
    }
    return Figures(**(made | changes))
