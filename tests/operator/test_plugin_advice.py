"""Whatever reason the operator gives, the plugin knows what to do about it."""

import ast
import re
from pathlib import Path

import controllable_operator
import pytest
from controllable_operator.errors import OperatorError
from controllable_operator.plugin.advice import ADVICE, advice, condition_health
from plugin_objects import condition

PACKAGE = Path(controllable_operator.__file__).parent
DOCS = Path(__file__).parents[2] / "docs/conditions.md"
REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z]+[a-z]*)*")


def all_subclasses(kind: type[OperatorError]) -> set[type[OperatorError]]:
    found = set(kind.__subclasses__())
    return found | {deeper for each in found for deeper in all_subclasses(each)}


def documented() -> set[str]:
    """The words of the columns `reason`, and what a row lists in one."""
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    cells = [row[1] for row in rows if row[0] in {"True", "False"}]
    return {word for cell in cells for part in re.split(r"[,·]", cell) for word in _leading(part)}


def _leading(part: str) -> list[str]:
    found = REASON.match(part.strip())
    return [found.group()] if found else []


def in_code() -> set[str]:
    """Reasons as the code has them: the second of a verdict (bool, reason, …), the first two of a Problem."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "plugin" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple) and len(node.elts) == 3 and _is_bool(node.elts[0]):
                found |= _words(node.elts[1:2])
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                found |= _words(node.args[:2])
    return found


def _is_bool(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _words(nodes: list[ast.expr]) -> set[str]:
    constants = [node for outer in nodes for node in ast.walk(outer) if isinstance(node, ast.Constant)]
    return {c.value for c in constants if isinstance(c.value, str) and REASON.fullmatch(c.value)}


RAISED = {error.reason for error in all_subclasses(OperatorError)}


def test_reasons_are_found_at_all() -> None:
    assert {"Serving", "Fetching", "EngineDead", "InvalidSpec"} <= documented()
    assert {"Serving", "PodsNotReady", "MetricsUnavailable", "LoadFailed", "Loaded"} <= in_code()


@pytest.mark.parametrize("reason", sorted(documented() | in_code() | RAISED))
def test_every_reason_has_its_advice(reason: str) -> None:
    assert reason in ADVICE


@pytest.mark.parametrize("key", sorted(ADVICE))
def test_advice_can_be_pasted(key: str) -> None:
    found = advice("Ready", key, "team-a", "nano")
    assert found is not None
    assert not set("{}") & set(found.text)


def test_a_reason_nobody_knows_is_taken_seriously() -> None:
    assert condition_health(condition("Ready", "False", "BrandNew")) == "bad"
    assert advice("Ready", "BrandNew", "team-a", "nano") is None


@pytest.mark.parametrize(
    ("kind", "status", "reason", "health"),
    [
        ("Ready", "True", "Serving", "ok"),
        ("Ready", "False", "Progressing", "busy"),
        ("Ready", "False", "ModelNotFound", "bad"),
        ("ScalingActive", "False", "Disabled", "idle"),
        ("Stalled", "True", "InvalidSpec", "bad"),
        ("Stalled", "False", "Progressing", "ok"),
    ],
)
def test_a_condition_is_as_bad_as_its_reason(kind: str, status: str, reason: str, health: str) -> None:
    assert condition_health(condition(kind, status, reason)) == health
