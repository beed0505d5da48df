"""Weighted voting over the answers of finished paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controllable_inference.core.views import Answer, PathView

Weight = Callable[[PathView], float]


def one_each(path: PathView) -> float:
    """Plain majority voting."""
    return 1.0


def tally(paths: Sequence[PathView], weight: Weight) -> dict[str, float]:
    """Voting weight by normalised answer, in the order in which the answers first appear by path number."""
    totals: dict[str, float] = {}
    for path in paths:
        if path.state == "kept" and path.key is not None:
            totals[path.key] = totals.get(path.key, 0.0) + weight(path)
    return totals


def is_settled(totals: dict[str, float], running: int, most: float = 1.0) -> bool:
    """Can no outcome of the `running` paths, each voting with weight `most` at most, overturn the leader?"""
    if not running:
        return True
    ranked = sorted(totals.values(), reverse=True)
    return bool(ranked) and ranked[0] - (ranked[1] if len(ranked) > 1 else 0.0) > running * most


def vote(paths: Sequence[PathView], weight: Weight) -> Answer:
    """The answer with the most weight; among its paths, the one with the best score is shown.

    Ties, as where no two answers can be compared, go to the best score, then to the lowest-numbered path.
    Answers that can't be compared have no votes: the path with the best score wins, without confidence.
    Where no path has an answer there is no winner.
    """
    totals = tally(paths, weight)
    if not totals:
        return _best(paths)
    voters = [p for p in paths if p.state == "kept" and p.key is not None]
    winner = max(voters, key=lambda p: (totals[p.key or ""], p.score or 0.0, -p.index))
    best = winner.key or ""
    total = sum(totals.values())
    shown = {next(p.answer or "" for p in paths if p.key == key): value for key, value in totals.items()}
    return Answer(winner.index, totals[best] / total if total > 0 else 1 / len(totals), shown)


def _best(paths: Sequence[PathView]) -> Answer:
    answered = [p for p in paths if p.state == "kept" and p.answer is not None]
    best = max(answered, key=lambda p: (p.score or 0.0, -p.index), default=None)
    return Answer(None if best is None else best.index, 0.0, {})
