"""Results as the engine gives them, written by hand or drawn at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

from controllable_inference import PathResult, Result, Usage
from controllable_inference.core.answer import normalise

REASONS = {"kept": "eos", "pruned": "gate", "stopped": "decided", "cancelled": "cancelled"}


def path(
    index: int,
    steps: Sequence[str],
    scores: Sequence[float] = (),
    *,
    fate: str = "kept",
    answer: str | None = None,
    rest: str = "",
    detail: str = "",
) -> PathResult:
    ends, length = [], 0
    for step in steps:
        length += len(step) + 1
        ends.append(length)
    return PathResult(
        index=index,
        fate=fate,  # type: ignore[arg-type]
        reason=REASONS[fate],
        tokens=10 * len(steps),
        answer=answer,
        score=scores[-1] if scores else None,
        text="".join(f"{step}\n" for step in steps) + rest,
        scores=tuple(scores),
        steps=len(steps),
        step_ends=tuple(ends),
        detail=detail,
        answer_key=None if answer is None else normalise(answer),
    )


def result(paths: Sequence[PathResult], votes: dict[str, float] | None = None) -> Result:
    """votes: one each by its paths' answers if not given; the first of the heaviest wins."""
    if votes is None:
        votes = {}
        for p in paths:
            if p.answer is not None:
                votes[p.answer] = votes.get(p.answer, 0) + 1
    winner = max(votes, key=lambda answer: votes[answer], default=None)
    shown = next((p for p in paths if winner is not None and p.answer == winner), None)
    fates = [p.fate for p in paths]
    return Result(
        answer=winner or "",
        text=shown.text if shown else "",
        confidence=votes[winner] / (sum(votes.values()) or 1) if winner is not None else 0.0,
        content=winner or "",
        finish_reason="stop" if shown else "length",
        paths=list(paths),
        usage=Usage(
            prompt_tokens=7,
            completion_tokens=sum(p.tokens for p in paths),
            tokens_saved=40,
            paths_started=len(paths),
            paths_pruned=fates.count("pruned"),
            paths_stopped=fates.count("stopped"),
            paths_finished=fates.count("kept"),
            coefficient=1.25,
            seconds=0.5,
        ),
        votes=votes,
    )


def drawn(seed: int, paths: int, steps: int, words: int = 3, text: str = "step {} says {}") -> Result:
    """Random paths with common beginnings and every fate; path 0 has all the steps."""
    draw = random.Random(seed)
    made = []
    for index in range(paths):
        count = steps if index == 0 else draw.randint(0, steps)
        fate = draw.choice(["kept", "kept", "pruned", "stopped"])
        made.append(
            path(
                index,
                [text.format(n, draw.randint(1, words)) for n in range(count)],
                [draw.random() for _ in range(count)],
                fate=fate,
                answer=draw.choice(["12", "13"]) if fate == "kept" else None,
                detail="0.21 ≤ 0.30" if fate == "pruned" else "",
            )
        )
    return result(made)
