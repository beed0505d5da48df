"""Figures and their uncertainty, resampled by problem: paths of one problem are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % bootstrap interval (percentile method, Efron 1979)."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float], rounds: int = 2000, seed: int = 0) -> Interval:
    """Interval of the mean of `values`, one a problem. Raises ValueError when there is none."""
    if not len(values):
        raise ValueError("no problems to average over")
    array = np.asarray(values, dtype=float)
    picks = np.random.default_rng(seed).integers(0, len(array), (rounds, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), (0.025, 0.975))
    return Interval(float(array.mean()), float(low), float(high))


@dataclass(frozen=True)
class Estimate:
    """A figure, and the same figure in each round of a bootstrap; what is computed from it is computed in
    every round, so that figures of the same problems are compared in pairs.
    """

    value: float
    draws: np.ndarray

    @property
    def interval(self) -> Interval:
        """95 % percentile interval over the rounds in which the figure exists. An end may be infinite."""
        known = self.draws[~np.isnan(self.draws)]
        if not len(known):
            return Interval(self.value, float("nan"), float("nan"))
        low, high = np.quantile(known, (0.025, 0.975), method="inverted_cdf")
        return Interval(self.value, float(low), float(high))

    def _with(self, other: Estimate | float, operation: Callable[..., np.ndarray]) -> Estimate:
        value, draws = (other.value, other.draws) if isinstance(other, Estimate) else (other, other)
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.float64(self.value)  # divides by zero as numpy does, not as Python
            return Estimate(float(operation(own, value)), operation(self.draws, draws))

    def __add__(self, other: Estimate | float) -> Estimate:
        return self._with(other, np.add)

    def __sub__(self, other: Estimate | float) -> Estimate:
        return self._with(other, np.subtract)

    def __rsub__(self, other: float) -> Estimate:
        return self._with(other, lambda own, its: its - own)

    def __mul__(self, other: Estimate | float) -> Estimate:
        return self._with(other, np.multiply)

    def __truediv__(self, other: Estimate | float) -> Estimate:
        return self._with(other, np.divide)

    def saved_against(self, other: Estimate) -> Estimate:
        """The share by which it is smaller: 1 - self / other."""
        return 1 - self / other


class Resamples:
    """Rounds of drawing as many problems as there are, with replacement; one set of draws for all figures.

    counts (rounds, problems): how often each problem was drawn in each round.
    """

    def __init__(self, problems: int, rounds: int = 2000, seed: int = 0) -> None:
        if problems < 1:
            raise ValueError("no problems to average over")
        shares = np.full(problems, 1 / problems)
        self.counts = np.random.default_rng(seed).multinomial(problems, shares, rounds).astype(np.float64)

    def mean(self, values: Values) -> Estimate:
        """Mean of `values`, one a problem."""
        array = np.asarray(values, dtype=np.float64)
        return Estimate(float(array.mean()), self.counts @ array / len(array))

    def ratio(self, parts: Values, wholes: Values) -> Estimate:
        """Sum of `parts` by sum of `wholes`, each one a problem: what is pooled over paths."""
        return self.mean(parts) / self.mean(wholes)

    def quantile(self, values: Values, share: float) -> Estimate:
        """The smallest of `values`, one a problem, that at least `share` of the problems do not exceed."""
        array = np.asarray(values, dtype=np.float64)
        order = np.argsort(array, kind="stable")
        below = self.counts[:, order].cumsum(axis=1)
        at = (below >= share * len(array) - 1e-9).argmax(axis=1)
        return Estimate(float(np.quantile(array, share, method="inverted_cdf")), array[order][at])

    def auc(self, scores: np.ndarray, outcomes: np.ndarray, problems: np.ndarray) -> Estimate:
        """Pooled `auc` of paths; problems: number of each path's problem."""
        positive = outcomes > 0.5
        values, rank = np.unique(scores, return_inverse=True)

        def of(weights: np.ndarray) -> float:
            high = np.bincount(rank[positive], weights[positive], len(values))
            low = np.bincount(rank[~positive], weights[~positive], len(values))
            pairs = high.sum() * low.sum()
            return float(high @ (low.cumsum() - low / 2) / pairs) if pairs else float("nan")

        return Estimate(of(np.ones(len(scores))), np.array([of(counts[problems]) for counts in self.counts]))

    def calibration(
        self, scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray, problems: np.ndarray
    ) -> tuple[list[Bin], list[Interval], Interval]:
        """Ten bins, the interval of each one's outcome, and the calibration error over them.

        The error's interval is the pivotal one: a mean of absolute gaps only grows by resampling, so that
        percentiles would lie too high.
        """
        bins = calibration_bins(scores, outcomes, weights)
        order = np.argsort(scores, kind="stable")
        place = np.empty(len(scores), dtype=int)
        place[order] = bin_places(weights[order])
        shape = (self.counts.shape[1], place.max() + 1)
        weight, said, came = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for sums, values in ((weight, weights), (said, weights * scores), (came, weights * outcomes)):
            np.add.at(sums, (problems, place), values)
        total = self.counts @ weight
        gaps = np.abs(self.counts @ said - self.counts @ came).sum(axis=1) / total.sum(axis=1)
        error = calibration_error(bins)
        low, high = np.quantile(gaps, (0.025, 0.975))
        with np.errstate(invalid="ignore"):
            shares = self.counts @ came / total
        intervals = [Estimate(b.outcome, share).interval for b, share in zip(bins, shares.T, strict=True)]
        return bins, intervals, Interval(error, max(0.0, 2 * error - high), max(0.0, 2 * error - low))

    def within_auc(self, scores: np.ndarray, outcomes: np.ndarray, problems: np.ndarray) -> Estimate:
        """`within_auc` of paths."""
        tallies = np.zeros((2, self.counts.shape[1]))
        for problem in np.unique(problems):
            own = problems == problem
            tallies[:, problem] = _wins(scores[own], outcomes[own] > 0.5)
        return self.ratio(tallies[0], tallies[1])


@dataclass(frozen=True)
class Bin:
    """Boundaries of about equal score: their mean score, the share that ended right, their share of all."""

    score: float
    outcome: float
    weight: float


def calibration_bins(
    scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray, bins: int = 10
) -> list[Bin]:
    """Bins of about equal weight, by rising score. Equal scores may part; no bin is empty."""
    order = np.argsort(scores, kind="stable")
    score, outcome, weight = scores[order], outcomes[order], weights[order] / weights.sum()
    place = bin_places(weight, bins)
    return [
        Bin(
            float(np.average(score[own], weights=weight[own])),
            float(np.average(outcome[own], weights=weight[own])),  # of ones alone exactly 1
            float(weight[own].sum()),
        )
        for own in (place == number for number in np.unique(place))
    ]


def bin_places(weights: np.ndarray, bins: int = 10) -> np.ndarray:
    """Number of the bin of each, by order; numbers are without gaps."""
    place = ((weights.cumsum() - weights / 2) / weights.sum() * bins).astype(int)
    return np.unique(np.minimum(place, bins - 1), return_inverse=True)[1]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean gap between score and outcome (Naeini et al. 2015)."""
    return sum(abs(b.score - b.outcome) * b.weight for b in bins)


def auc(scores: Values, outcomes: Values) -> float | None:
    """Probability that a positive scores higher than a negative, ties half (Mann-Whitney). None if one class
    is missing.
    """
    won, pairs = _wins(np.asarray(scores, dtype=float), np.asarray(outcomes) > 0.5)
    return won / pairs if pairs else None


def within_auc(scores: Values, outcomes: Values, groups: Sequence[int] | np.ndarray) -> float | None:
    """AUC over pairs from the same group (problem) only: whether paths of one problem are told apart."""
    score, outcome, group = np.asarray(scores, dtype=float), np.asarray(outcomes) > 0.5, np.asarray(groups)
    counts = [_wins(score[group == g], outcome[group == g]) for g in np.unique(group)]
    won, pairs = sum(w for w, _ in counts), sum(p for _, p in counts)
    return won / pairs if pairs else None


def _wins(scores: np.ndarray, positive: np.ndarray) -> tuple[float, int]:
    high, low = scores[positive], np.sort(scores[~positive])
    below = np.searchsorted(low, high, side="left")
    not_above = np.searchsorted(low, high, side="right")
    return float((below + not_above).sum() / 2), len(high) * len(low)


def spearman(left: Values, right: Values) -> float:
    """Rank correlation; ties get the mean of their ranks."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Values) -> np.ndarray:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
