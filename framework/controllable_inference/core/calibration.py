"""Calibration: what does a score of 0.3 mean?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from controllable_inference.core.config import CalibrationConfig


@dataclass(frozen=True)
class Calibration:
    """A non-decreasing piecewise linear map from raw scores to probabilities; flat outside its knots."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def of(cls, config: CalibrationConfig) -> Calibration:
        return cls(tuple(config.x), tuple(config.y))

    def __call__(self, scores: Tensor) -> Tensor:
        mapped = np.interp(scores.detach().cpu().double().numpy(), self.x, self.y)
        return torch.from_numpy(np.asarray(mapped)).to(scores.dtype)

    @classmethod
    def fit(cls, scores: Sequence[float], outcomes: Sequence[float], weights: Sequence[float]) -> Calibration:
        """Isotonic regression by pool-adjacent-violators (Barlow et al. 1972), with a knot for each pool, and
        one at either end: 0 means 0 and 1 means 1, so that scores beyond the outermost pools keep their
        order.

        scores, outcomes (1 for a path that ended right, else 0) and weights have one entry a path.
        """
        order = np.argsort(np.asarray(scores), kind="stable")
        pools: list[list[float]] = []  # [weighted mean outcome, weight, weighted mean score]
        for i in order:
            pools.append([float(outcomes[i]), float(weights[i]), float(scores[i])])
            while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
                y, w, x = pools.pop()
                last = pools[-1]
                total = last[1] + w
                pools[-1] = [(last[0] * last[1] + y * w) / total, total, (last[2] * last[1] + x * w) / total]
        inner = [(x, y) for y, _, x in pools if 0 < x < 1]
        return cls(*(tuple(axis) for axis in zip((0.0, 0.0), *inner, (1.0, 1.0), strict=True)))


@dataclass(frozen=True)
class Promise:
    """What a threshold of `at` promises: that calibrated probabilities up to `probability` are pruned by it.

    A gate score is the probability bent, piecewise linearly through (0, 0), (probability, at) and (1, 1), so
    that one default threshold means the same for every model: the recall that `probability` was found for.
    """

    probability: float
    at: float = 0.3

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Gate scores, in the shape of `probabilities`."""
        bent = np.interp(probabilities.detach().cpu().double().numpy(), *self._knots)
        return torch.from_numpy(np.asarray(bent)).to(probabilities.dtype)

    def probability_of(self, score: float) -> float:
        """The probability that a gate score stands for."""
        return float(np.interp(score, *self._knots[::-1]))

    @property
    def _knots(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (0.0, min(max(self.probability, 1e-4), 1 - 1e-4), 1.0), (0.0, self.at, 1.0)


def least_patience(lost: Sequence[int], problems: int, max_risk: float, error: float = 0.05) -> int | None:
    """The smallest patience of an early exit whose risk is at most `max_risk`; None where none is known to.

    lost: for patience 1, 2, ..., of how many calibration problems the exit took a right answer away. A
    problem's loss is 0 or 1, and the risk is its mean on new problems of the same distribution. Learn then
    test (Angelopoulos et al. 2021, arXiv:2110.01052), as Conformal Thinking uses it for stopping rules
    (arXiv:2602.03814): from the largest patience down, each is tested with the exact binomial p-value of "its
    risk is greater", and the first that is not rejected at level `error` ends the walk. So with a probability
    of at least 1 - `error` over calibration problems, the patience that is returned keeps the promise.
    """
    least = None
    for patience in range(len(lost), 0, -1):
        if _binomial_cdf(lost[patience - 1], problems, max_risk) > error:
            break
        least = patience
    return least


def _binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """P(X <= successes) for X ~ Binomial(trials, probability)."""
    if probability >= 1:
        return float(successes >= trials)
    if probability <= 0:
        return 1.0
    logs = (
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(probability)
        + (trials - k) * math.log1p(-probability)
        for k in range(successes + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def recall_threshold(lowest: Sequence[Sequence[float]], recall: float) -> float:
    """The highest score at or under which paths may be pruned while right paths stay, at least `recall` of a
    new problem's on average.

    lowest: for each calibration problem that has right paths, the lowest score each of these ever had.
    Conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814) over thresholds t, where a problem's
    loss is the share of its right paths with a score of t or less: the bound (n * mean loss + 1) / (n + 1)
    holds in expectation for whatever distribution the problems have in common. 0.0 where no threshold keeps
    the bound, as with fewer than recall / (1 - recall) problems.
    """
    problems = len(lowest)
    # Walk up through all scores; each adds its problem's share of one path to the sum of losses.
    steps = sorted((score, 1 / len(scores)) for scores in lowest for score in scores)
    allowed = (1 - recall) * (problems + 1) - 1
    if allowed < 0:
        return 0.0
    threshold, losses, place = 0.0, 0.0, 0
    while place < len(steps):
        score = steps[place][0]
        while place < len(steps) and steps[place][0] == score:
            losses += steps[place][1]
            place += 1
        if losses > allowed + 1e-9:
            return threshold
        threshold = score
    return threshold
