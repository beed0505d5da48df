"""An explanation for a terminal."""

from __future__ import annotations

from controllable_inference.explain.explanation import ExplainedPath, Explanation
from controllable_inference.explain.plain import cut, listed, one_line, sparkline, width

COLUMNS = 100
_BAR = 24


def text_of(explanation: Explanation) -> str:
    parts = [
        [one_line(explanation.question)] if explanation.question else [],
        _answer(explanation),
        _vote(explanation),
        _paths(explanation),
        _shown(explanation),
        _cost(explanation),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _answer(explanation: Explanation) -> list[str]:
    if explanation.finish_reason == "cancelled":
        return ["The request was cancelled; there was no vote."]
    if not explanation.votes:
        return ["No path came to an answer."]
    return [explanation.answer, f"(confidence {explanation.confidence:.0%})"]


def _vote(explanation: Explanation) -> list[str]:
    if not explanation.votes:
        return []
    answers = [cut(ballot.answer, 30) for ballot in explanation.votes]
    widest = max(map(width, answers))
    lines = ["Vote"]
    for ballot, answer in zip(explanation.votes, answers, strict=True):
        bar = "█" * max(1, round(ballot.share * _BAR))
        paths = f"path{'s' if len(ballot.paths) > 1 else ''} {listed(ballot.paths)}"
        mark = "▸" if ballot.wins else " "
        lines.append(f"  {mark} {_padded(answer, widest)}  {bar:<{_BAR}} {ballot.share:>4.0%}  {paths}")
    return lines


def _paths(explanation: Explanation) -> list[str]:
    if not explanation.paths:
        return []
    answers = [cut(path.answer, 16) if path.answer else "–" for path in explanation.paths]
    lines_of_scores = [sparkline(_scores(path))[-20:] for path in explanation.paths]
    widest, longest = max(map(width, answers)), max(map(len, lines_of_scores))
    lines = ["Paths"]
    for path, answer, line in zip(explanation.paths, answers, lines_of_scores, strict=True):
        lines.append(
            f"  {'▸' if path.wins else ' '} {path.index:>2}  {path.fate:<9}  {_padded(answer, widest)}  "
            f"{path.tokens:>5} tokens  {line:<{longest}}  {path.why}".rstrip()
        )
    return lines


def _shown(explanation: Explanation) -> list[str]:
    shown = next((path for path in explanation.paths if path.shown), None)
    if shown is None or not shown.steps:
        return []
    lines = [f"Steps of path {shown.index}"]
    for number, step in enumerate(shown.steps, start=1):
        score = "    " if step.score is None else f"{step.score:.2f}"
        lines.append(f"  {number:>3}  {score}  {cut(step.text, COLUMNS - 13)}".rstrip())
    return lines


def _cost(explanation: Explanation) -> list[str]:
    usage = explanation.usage
    return [
        f"{usage.completion_tokens} tokens used, about {usage.tokens_saved} saved; "
        f"{usage.paths_started} paths started, {usage.paths_pruned} pruned, {usage.paths_stopped} stopped",
        f"coefficient {usage.coefficient:.2f}, limited by {usage.limited_by}; {usage.seconds:.2f} s",
    ]


def _scores(path: ExplainedPath) -> list[float]:
    return [step.score for step in path.steps if step.score is not None]


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))
