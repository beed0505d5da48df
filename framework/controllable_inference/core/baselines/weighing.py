"""What votes are weighed by, and answers that one path decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from controllable_inference.core.features import STATISTICS
from controllable_inference.core.views import Answer, PathView
from controllable_inference.core.vote import one_each, tally, vote

Score = Callable[[Tensor], Tensor]
"""features (n, feature_dim) -> (n,) in [0, 1], as a trained gate gives it."""
Worth = Callable[[PathView], float | None]
"""A path's worth, None where nothing is known of it."""

DIGITS = 4
"""The company in a batch moves the last digits of a figure, which must not decide a vote."""


def column(features: Tensor, name: str) -> Tensor:
    """features (n, feature_dim) -> (n,): the statistic of that name (`features.STATISTICS`)."""
    return features[:, features.shape[1] - len(STATISTICS) + STATISTICS.index(name)]


def statistic(path: PathView, name: str) -> float | None:
    """A statistic at the path's latest boundary, rounded; None before its first."""
    value = path.statistic(name)
    return None if value is None else round(value, DIGITS)


def latest_score(path: PathView) -> float | None:
    """Score at the latest boundary."""
    return path.score


def mean_score(path: PathView) -> float | None:
    """Mean of the scores at all boundaries so far, rounded."""
    return round(sum(path.scores) / len(path.scores), DIGITS) if path.scores else None


def weighted_vote(paths: Sequence[PathView], worth: Worth) -> Answer:
    """The answer whose paths are worth most together.

    A path of unknown worth has no say, unless nothing is known of any: then each has one vote.
    """
    voters = [p for p in paths if p.state == "kept" and p.key is not None]
    if not any(worth(p) for p in voters):
        return vote(voters, one_each)
    return vote(voters, lambda p: worth(p) or 0.0)


def answer_of(path: PathView, paths: Sequence[PathView]) -> Answer:
    """That path's answer, whatever the others say.

    confidence, weights: of a plain vote of all that finished, for want of anything else.
    """
    everyone = vote(paths, one_each)
    votes = tally(paths, one_each)
    share = votes.get(path.key or "", 0.0) / sum(votes.values()) if votes else 0.0
    return replace(everyone, winner=path.index, confidence=share)
