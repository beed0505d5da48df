"""Calibration: what does a score of 0.3 mean?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from controllable_inference.control.config import CalibrationConfig


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
        """Isotonic regression by pool-adjacent-violators (Barlow et al. 1972).

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
        return cls(tuple(p[2] for p in pools), tuple(p[0] for p in pools))
