"""`controllable-inference explain`: ask a model in this process, and show what led to its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controllable_inference.errors import RequestError
from controllable_inference.explain.explanation import Explanation, explain


def explain_question(
    model: Path,
    question: str,
    budget: str | None,
    limits: Mapping[str, Any],
    seed: int | None,
) -> Explanation:
    """budget: a coefficient or an effort. limits: further fields of a RequestBudget.

    Raises what loading and asking raise.
    """
    from controllable_inference.model import ControllableInference, request_budget

    asked = request_budget(_number_or_word(budget), **limits)  # before a model is loaded for nothing
    with ControllableInference.from_pretrained(model) as loaded:
        result = loaded.generate([{"role": "user", "content": question}], budget=asked, seed=seed)
    return explain(result, question)


def written(explanation: Explanation, suffix: str) -> str:
    """The file's content. suffix: one of FORMATS."""
    match suffix:
        case ".html":
            return explanation.html()
        case ".svg":
            return explanation.svg()
        case ".json":
            return json.dumps(explanation.json(), ensure_ascii=False, indent=2) + "\n"
        case _:
            return explanation.text()


FORMATS = (".html", ".svg", ".json", ".txt")


def check_output(output: Path) -> None:
    """Raises RequestError where nothing could be written there."""
    if output.suffix not in FORMATS:
        raise RequestError("output", f"must end in {', '.join(FORMATS)}, got {output}")
    if not output.parent.is_dir():
        raise RequestError("output", f"there is no folder {output.parent}")


def _number_or_word(budget: str | None) -> float | str | None:
    try:
        return None if budget is None else float(budget)
    except ValueError:
        return budget
