"""Figures by how hard problems are. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controllable_inference.bench.analysis import FULL
from controllable_inference.bench.figures import (
    Third,
)
from controllable_inference.bench.measure import Measured
from controllable_inference.bench.sweep import SHIPPED
from controllable_inference.learn.statistics import Estimate, Resamples


def difficulty_thirds(seeds: Sequence[Measured]) -> np.ndarray:
    """(seeds, problems): 0 for the easiest third, 2 for the hardest, as the *other* seeds tell.

    A problem's difficulty is the pass rate of its paths in all other seeds. In its own seed it would be
    circular: bad luck would make a problem hard and dear at once. Of equally difficult problems those of the
    family and level with the higher pass rate, in the other seeds too, are easier.
    """
    rates = np.array([[problem.pass_rate for problem in measured.problems] for measured in seeds])
    cells = [(problem.family, problem.level) for problem in seeds[0].problems]
    found = np.zeros(rates.shape, dtype=int)
    for own in range(len(seeds)):
        others = np.delete(rates, own, axis=0).mean(axis=0)
        by_cell = {cell: others[[c == cell for c in cells]].mean() for cell in set(cells)}
        order = sorted(range(len(cells)), key=lambda n: (-others[n], -by_cell[cells[n]], n))
        for place, number in enumerate(order):
            found[own, number] = place * 3 // len(order)
    return found


def thirds(seeds: Sequence[Measured], rounds: int = 2000) -> tuple[list[Third], Third]:
    """Easy, middle and hard third, and all, over the problems that every seed saw, every seed counted."""
    place = difficulty_thirds(seeds)
    resamples = Resamples(place.shape[1], rounds)
    names = ("easy third", "middle third", "hard third")
    found = [_third(name, seeds, resamples, place == n) for n, name in enumerate(names)]
    return found, _third("all", seeds, resamples, np.ones_like(place, dtype=bool))


def whole(measured: Measured, rounds: int = 2000) -> Third:
    """All problems of one seed, where there is no other that could tell them apart."""
    everything = np.ones((1, len(measured.problems)), dtype=bool)
    return _third("all", [measured], Resamples(len(measured.problems), rounds), everything)


def _third(name: str, seeds: Sequence[Measured], resamples: Resamples, own: np.ndarray) -> Third:
    """own (seeds, problems): which outcomes belong to it."""
    members = own.sum(axis=0)

    def mean(system: str, *fields: str) -> Estimate:
        values = sum(np.array([m.of(system, field) for m in seeds]) for field in fields)
        return resamples.ratio((values * own).sum(axis=0), members)

    flops = [mean(system, "flops", "control_flops") for system in (SHIPPED, FULL)]
    rates = np.array([[problem.pass_rate for problem in measured.problems] for measured in seeds])
    return Third(
        name,
        float(rates[own].mean()),
        mean(FULL, "tokens").interval,
        mean(SHIPPED, "tokens").interval,
        (flops[0] / flops[1] - 1).interval,
        (mean(SHIPPED, "right") - mean(FULL, "right")).interval,
        mean(SHIPPED, "started").interval,
    )
