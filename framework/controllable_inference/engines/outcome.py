"""What a request comes to: its result and its usage, from its paths and the controller's answer."""

from __future__ import annotations

from controllable_inference.core.answer import content
from controllable_inference.core.request import FinishReason, PathResult, Result, Usage
from controllable_inference.core.views import Answer
from controllable_inference.engines.path import Path, PathGroup

NATURAL = ("eos", "stop")
"""Reasons of a path that came to its own end; the other end of a kept path is its token cap."""


def tokens_saved(group: PathGroup) -> int:
    """Estimate: what paths ended early would still have used, were they as long as the finished ones."""
    assert group.plan is not None
    natural = [len(p.tokens) for p in group.paths if p.fate == "kept" and p.reason in NATURAL]
    expected = sum(natural) / len(natural) if natural else group.plan.token_cap
    early = [len(p.tokens) for p in group.paths if p.fate in ("pruned", "stopped")]
    return round(sum(max(0.0, expected - used) for used in early))


def result_of(group: PathGroup, answer: Answer, reason: str, think_end: str | None, now: float) -> Result:
    """reason: why the request ended (finished, decided, deadline, cancelled, or a controller's own)."""
    winner = None if answer.winner is None else group.paths[answer.winner]
    shown = winner or _furthest(group, think_end)
    said = content(shown.text, think_end) if shown else ""
    if said is None:  # a path that has an answer although it did not think said nothing else
        said = shown.text.strip() if shown and shown is winner else ""
    finish: FinishReason = "stop" if winner else "length"
    return Result(
        answer=(winner.answer or "") if winner else (group.answers.extract(said) if said else None) or "",
        text=shown.text if shown else "",
        confidence=answer.confidence,
        content=said,
        finish_reason="cancelled" if reason == "cancelled" else finish,
        paths=[
            PathResult(
                p.index,
                p.fate or "cancelled",
                p.reason,
                len(p.tokens),
                p.answer,
                p.score,
                p.text,
                p.scores,
                p.steps,
                p.step_ends,
                p.detail,
                p.closed,
                p.answer_key,
            )
            for p in group.paths
        ],
        usage=usage_of(group, answer.confidence, reason, now),
        votes=answer.weights,
    )


def _furthest(group: PathGroup, think_end: str | None) -> Path | None:
    """Without a winner: the first path that has begun its answer, else the first; pruned ones don't count."""
    left = [p for p in group.paths if p.fate != "pruned"]
    return next((p for p in left if content(p.text, think_end)), left[0] if left else None)


def usage_of(group: PathGroup, confidence: float, reason: str, now: float) -> Usage:
    fates = [p.fate for p in group.paths]
    first = group.first_token_at
    admitted = group.admitted_at if group.admitted_at is not None else now
    plan = group.plan
    return Usage(
        prompt_tokens=len(group.prompt),
        completion_tokens=sum(len(p.tokens) for p in group.paths) + group.trial_tokens,
        reasoning_tokens=sum(p.reasoning_tokens for p in group.paths),
        paths_started=len(fates),
        paths_pruned=fates.count("pruned"),
        paths_stopped=fates.count("stopped"),
        paths_finished=fates.count("kept"),
        probe_tokens=group.trial_tokens,
        paths_closed=sum(bool(p.closed) for p in group.paths),
        tokens_saved=tokens_saved(group) if plan else 0,
        coefficient=plan.coefficient if plan else 0.0,
        limited_by="deadline" if reason == "deadline" else plan.limited_by if plan else "model",
        confidence=confidence,
        queue_seconds=admitted - group.submitted_at,
        time_to_first_token_seconds=None if first is None else first - group.submitted_at,
        seconds=now - group.submitted_at,
    )
