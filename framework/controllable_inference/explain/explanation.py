"""An explanation as values: the paths with their steps and scores, the vote, what it all took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controllable_inference.core.request import Fate, FinishReason, Messages, PathResult, Result, Usage
from controllable_inference.explain.plain import plain


@dataclass(frozen=True)
class Step:
    """score: at the end of the step, None where the controller gave none."""

    text: str
    score: float | None


@dataclass(frozen=True)
class ExplainedPath:
    """One path. why: why it ended, in words. rest: what it wrote after its last whole step.

    wins: whether it voted for the answer that won; shown: whether the answer's text is this path's.
    """

    index: int
    fate: Fate
    reason: str
    why: str
    tokens: int
    answer: str | None
    score: float | None
    steps: tuple[Step, ...]
    rest: str
    wins: bool
    shown: bool


@dataclass(frozen=True)
class Ballot:
    """One answer of the vote. share: of all weight. paths: who voted for it."""

    answer: str
    weight: float
    share: float
    paths: tuple[int, ...]
    wins: bool


@dataclass(frozen=True)
class Explanation:
    """What led to one result. Texts hold nothing that a terminal, an editor or a browser would obey."""

    question: str
    answer: str
    confidence: float
    finish_reason: FinishReason
    paths: tuple[ExplainedPath, ...]
    votes: tuple[Ballot, ...]
    usage: Usage

    def text(self) -> str:
        """For a terminal: the answer, the vote, one line a path, the winning path's steps."""
        from controllable_inference.explain.text import text_of

        return text_of(self)

    def json(self) -> dict[str, Any]:
        """A document by schemas/explanation.schema.json."""
        from controllable_inference.explain.document import document_of

        return document_of(self)

    def svg(self) -> str:
        """The tree of paths as a picture of its own, for light and dark pages."""
        from controllable_inference.explain.drawing import picture_of

        return picture_of(self)

    def html(self) -> str:
        """One page with everything. It needs no other file and no script, and opens from a disk."""
        from controllable_inference.explain.page import page_of

        return page_of(self)


def explain(result: Result, question: str | Messages | None = None) -> Explanation:
    """What led to `result`. question: what was asked, to be shown on top; of messages, the last one."""
    decided = result.finish_reason == "stop"
    voters = [p for p in result.paths if p.fate == "kept" and p.answer is not None]
    keys = {p.index: p.answer_key or f"path {p.index}" for p in voters}
    shown = next((p.index for p in voters if decided and p.text == result.text), None)
    winner = None if shown is None else keys[shown]
    return Explanation(
        question=plain(_asked(question)),
        answer=plain(result.answer),
        confidence=result.confidence,
        finish_reason=result.finish_reason,
        paths=tuple(
            _path(p, wins=decided and keys.get(p.index) == winner, shown=p.index == shown)
            for p in result.paths
        ),
        votes=_ballots(result.votes, voters, keys, winner),
        usage=result.usage,
    )


def _path(path: PathResult, wins: bool, shown: bool) -> ExplainedPath:
    scores: Sequence[float | None] = path.scores
    if len(scores) != len(path.step_ends):
        scores = [None] * len(path.step_ends)
    return ExplainedPath(
        index=path.index,
        fate=path.fate,
        reason=path.reason,
        why=plain(path.why),
        tokens=path.tokens,
        answer=None if path.answer is None else plain(path.answer),
        score=path.score,
        steps=tuple(Step(plain(text), at) for text, at in zip(path.step_texts, scores, strict=True)),
        rest=plain(path.rest),
        wins=wins,
        shown=shown,
    )


def _ballots(
    votes: Mapping[str, float], voters: Sequence[PathResult], keys: Mapping[int, str], winner: str | None
) -> tuple[Ballot, ...]:
    """The answers with the heaviest first, the winner before its equals."""
    key_of = {p.answer: keys[p.index] for p in voters}
    total = sum(votes.values())
    ballots = [
        Ballot(
            plain(answer),
            weight,
            weight / total if total > 0 else 1 / len(votes),
            tuple(index for index, key in keys.items() if key == key_of.get(answer)),
            winner is not None and key_of.get(answer) == winner,
        )
        for answer, weight in votes.items()
    ]
    return tuple(sorted(ballots, key=lambda b: (-b.weight, not b.wins)))


def _asked(question: str | Messages | None) -> str:
    if question is None or isinstance(question, str):
        return question or ""
    return str(question[-1].get("content", "")) if question else ""
