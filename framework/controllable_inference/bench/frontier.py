"""A method's frontier: what accuracy its settings buy for what cost, and the cost of a given accuracy.

Settings are chosen on validation problems (`efficient`), figures come from test problems: between two chosen
settings the frontier is the straight line, which mixing the two at random would reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from controllable_inference.learn.statistics import Estimate, Interval

LARGEST_LOSS, LOWEST_END = 0.003, -0.01


def no_loss(difference: Interval) -> bool:
    """Whether an accuracy is as good as another, given their difference paired by problem.

    Non-inferiority: at most 0.3 points worse as measured, and the 95 % interval ends no lower than -1 point.
    """
    return difference.mean >= -LARGEST_LOSS - 1e-12 and difference.low >= LOWEST_END - 1e-12


@dataclass(frozen=True)
class Setting:
    """One setting of a method, measured."""

    name: str
    cost: Estimate
    accuracy: Estimate


def efficient(figures: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names that no other beats: those of (cost, accuracy) where nothing cheaper is as accurate.

    By rising cost; of equal costs the more accurate, of equal settings the first.
    """
    chosen: list[str] = []
    best = -1.0
    for name, (_, accuracy) in sorted(figures.items(), key=lambda item: (item[1][0], -item[1][1])):
        if accuracy > best:
            chosen.append(name)
            best = accuracy
    return chosen


@dataclass(frozen=True)
class Mix:
    """Two neighbouring settings, one of which is drawn at random for each request.

    names: of all settings by rising cost. upper: index of the dearer one, in the figure itself and then in
    each round of the bootstrap; -1 where no setting is accurate enough. share: of requests that it gets.
    """

    names: list[str]
    upper: np.ndarray
    share: np.ndarray

    def of(self, costs: Mapping[str, Estimate]) -> Estimate:
        """A cost of this mix, given that of each setting; infinite where there is no mix."""
        table = np.array([[costs[name].value, *costs[name].draws] for name in self.names])
        column = np.arange(len(self.upper))
        dear, cheap = table[self.upper, column], table[np.maximum(self.upper - 1, 0), column]
        found = np.where(self.upper < 0, np.inf, cheap + self.share * (dear - cheap))
        return Estimate(float(found[0]), found[1:])


def mix_at(settings: Sequence[Setting], accuracy: Estimate) -> Mix:
    """The mix that a method takes for that accuracy.

    Walks up the settings by rising cost to the first that reaches it, in each round of the bootstrap. The
    cheapest setting alone where that is accurate enough already.
    """
    ordered = sorted(settings, key=lambda setting: setting.cost.value)
    heights = np.array([[s.accuracy.value, *s.accuracy.draws] for s in ordered])
    wanted = np.array([accuracy.value, *accuracy.draws])
    upper, share = np.full(len(wanted), -1), np.ones(len(wanted))
    for at in range(len(ordered)):
        reaches = (upper < 0) & (heights[at] >= wanted - 1e-12)
        upper[reaches] = at
        if at:
            rise = heights[at] - heights[at - 1]
            line = np.where(rise > 0, (wanted - heights[at - 1]) / np.where(rise > 0, rise, 1), 1)
            share[reaches] = line[reaches]
    return Mix([setting.name for setting in ordered], upper, share)


def cost_at(settings: Sequence[Setting], accuracy: Estimate) -> Estimate:
    """What the method pays for that accuracy; infinite where its settings do not reach it."""
    return mix_at(settings, accuracy).of({setting.name: setting.cost for setting in settings})


def accuracy_at(settings: Sequence[Setting], cost: Estimate) -> Estimate:
    """The accuracy that cost buys; that of the cheapest or dearest setting beyond the ends."""
    ordered = sorted(settings, key=lambda setting: setting.cost.value)
    costs = np.array([[s.cost.value, *s.cost.draws] for s in ordered])
    heights = np.array([[s.accuracy.value, *s.accuracy.draws] for s in ordered])
    paid = np.array([cost.value, *cost.draws])
    found = heights[0].copy()
    for at in range(1, len(ordered)):
        width = costs[at] - costs[at - 1]
        share = np.clip((paid - costs[at - 1]) / np.where(width > 0, width, 1), 0, 1)
        beyond = paid > costs[at - 1]
        found[beyond] = (heights[at - 1] + share * (heights[at] - heights[at - 1]))[beyond]
    return Estimate(float(found[0]), found[1:])
