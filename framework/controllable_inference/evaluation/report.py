"""An evaluation as a terminal table, Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from controllable_inference.evaluation.metrics import Interval
from controllable_inference.evaluation.problems import FAMILIES
from controllable_inference.evaluation.suite import Evaluation, Measured

COLUMNS = ("system", "accuracy", "path-tokens a problem", "paths", "pruned", "stopped", "problems/s")


def _percent(interval: Interval) -> str:
    return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def _row(measured: Measured) -> tuple[str, ...]:
    tokens = measured.tokens()
    return (
        measured.system,
        _percent(measured.accuracy()),
        f"{tokens.mean:.0f} [{tokens.low:.0f}, {tokens.high:.0f}]",
        f"{measured.paths().mean:.1f}",
        f"{measured.pruned_share().mean:.1%}",
        f"{measured.stopped_share().mean:.1%}",
        f"{measured.problems_per_second:.2f}",
    )


def _groups(evaluation: Evaluation) -> dict[str, list[int]]:
    """Problem numbers by level and by family."""
    groups = {f"level {lv}": evaluation.where(lambda p, lv=lv: p.level == lv) for lv in range(3)}  # type: ignore[misc]
    groups |= {f: evaluation.where(lambda p, f=f: p.family == f) for f in FAMILIES}  # type: ignore[misc]
    return {name: numbers for name, numbers in groups.items() if numbers}


def table(evaluation: Evaluation) -> Table:
    """The summary for a terminal."""
    shown = Table(*COLUMNS, title=f"{len(evaluation.problems)} unseen problems")
    for measured in evaluation.measured:
        shown.add_row(*_row(measured))
    return shown


def _markdown_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def markdown(evaluation: Evaluation) -> str:
    """Summary, paired differences, and accuracy (path-tokens) by level and family, as Markdown tables."""
    last, *others = reversed(evaluation.measured)
    names = tuple(measured.system for measured in evaluation.measured)
    gains = [(other.system, _percent(last.gain_over(other))) for other in reversed(others)]
    parts = [
        _markdown_table(COLUMNS, [_row(measured) for measured in evaluation.measured]),
        f"Accuracy of *{last.system}* minus that of each other, paired by problem:",
        _markdown_table(("compared with", "difference"), gains),
        "Accuracy (path-tokens a problem) by level and family:",
        _markdown_table(
            ("problems", "number", *names),
            [
                (
                    name,
                    str(len(numbers)),
                    *(
                        f"{m.accuracy(numbers).mean:.0%} ({m.tokens(numbers).mean:.0f})"
                        for m in evaluation.measured
                    ),
                )
                for name, numbers in _groups(evaluation).items()
            ],
        ),
        f"Intervals: 95 %, bootstrap by problem. {evaluation.concurrency} requests in flight; "
        f"seed {evaluation.seed}. Problems a second depend on the machine and what else runs on it.",
    ]
    return "\n\n".join(parts) + "\n"


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The same figures for machines."""
    groups = _groups(evaluation)
    return {
        "problems": len(evaluation.problems),
        "seed": evaluation.seed,
        "concurrency": evaluation.concurrency,
        "systems": {
            measured.system: {
                "accuracy": asdict(measured.accuracy()),
                "path_tokens": asdict(measured.tokens()),
                "paths": asdict(measured.paths()),
                "pruned_share": asdict(measured.pruned_share()),
                "stopped_share": asdict(measured.stopped_share()),
                "problems_per_second": measured.problems_per_second,
                "groups": {
                    name: {
                        "problems": len(numbers),
                        "accuracy": measured.accuracy(numbers).mean,
                        "path_tokens": measured.tokens(numbers).mean,
                    }
                    for name, numbers in groups.items()
                },
            }
            for measured in evaluation.measured
        },
    }
