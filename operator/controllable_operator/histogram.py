"""Quantiles of a Prometheus histogram."""

import math
from collections.abc import Mapping


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """The quantile of a cumulative histogram, linear within a bucket, as Prometheus has it; None if empty.

    share: over 0, at most 1. buckets: counts by upper bound. Beyond the last finite bound
    nothing is known but that it was longer: that bound is told.
    """
    total = max(buckets.values(), default=0.0)
    if not total:
        return None
    rank, below, count_below = share * total, 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= rank:
            within = (rank - count_below) / (count - count_below)
            return below if math.isinf(bound) else below + (bound - below) * within
        below, count_below = bound, count
    return None
