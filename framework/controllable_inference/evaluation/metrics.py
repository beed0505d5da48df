"""Figures and their uncertainty, resampled by problem: paths of one problem are not independent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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


def auc(scores: Sequence[float], outcomes: Sequence[float]) -> float | None:
    """Probability that a positive scores higher than a negative, ties half (Mann-Whitney). None if one class
    is missing.
    """
    won, pairs = _wins(np.asarray(scores, dtype=float), np.asarray(outcomes) > 0.5)
    return won / pairs if pairs else None


def within_auc(scores: Sequence[float], outcomes: Sequence[float], groups: Sequence[int]) -> float | None:
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


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation; ties get the mean of their ranks."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
