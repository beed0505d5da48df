"""An explanation as JSON, by schemas/explanation.schema.json."""

from __future__ import annotations

from typing import Any

from controllable_inference.explain.explanation import Explanation

VERSION = 1
"""Rises when a reader of the document would have to change; new fields alone do not count."""


def document_of(explanation: Explanation) -> dict[str, Any]:
    usage = explanation.usage
    return {
        "version": VERSION,
        "question": explanation.question,
        "answer": explanation.answer,
        "confidence": explanation.confidence,
        "finish_reason": explanation.finish_reason,
        "votes": [
            {
                "answer": ballot.answer,
                "weight": ballot.weight,
                "share": ballot.share,
                "paths": list(ballot.paths),
                "wins": ballot.wins,
            }
            for ballot in explanation.votes
        ],
        "paths": [
            {
                "index": path.index,
                "fate": path.fate,
                "reason": path.reason,
                "why": path.why,
                "tokens": path.tokens,
                "answer": path.answer,
                "score": path.score,
                "wins": path.wins,
                "shown": path.shown,
                "steps": [{"text": step.text, "score": step.score} for step in path.steps],
                "rest": path.rest,
            }
            for path in explanation.paths
        ],
        "usage": usage.to_json(),
    }
