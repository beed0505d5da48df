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
REASON = re.compile(r"[A-Z]+[a-z]+[A-Za-z]*")


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
    """Reasons as the code has them: of a verdict (bool, reason, …), a Problem(reason, reason, …), an obstacle
    (a returned pair of reason and message)."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "plugin" in path.relative_to(PACKAGE).parts:
            continue
        module = ast.parse(path.read_text())
        named = {
            node.targets[0].id: node.value
            for node in module.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Tuple) and len(node.elts) == 3 and _is_bool(node.elts[0]):
                found |= _words(node.elts[1:2], named)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                found |= _words(node.args[:2], named)
            elif (
                isinstance(node, ast.Return)
                and isinstance(node.value, ast.Tuple)
                and _is_obstacle(node.value)
            ):
                found |= _words(node.value.elts[:1], named)
    return found


def _is_bool(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def _is_obstacle(node: ast.Tuple) -> bool:
    kinds = [type(element) for element in node.elts]
    return kinds in ([ast.Constant, ast.Constant], [ast.Constant, ast.JoinedStr])


def _words(nodes: list[ast.expr], named: dict[str, ast.expr]) -> set[str]:
    inner = [named.get(getattr(node, "id", ""), node) for outer in nodes for node in ast.walk(outer)]
    constants = [node.value for node in inner if isinstance(node, ast.Constant)]
    return {value for value in constants if isinstance(value, str) and REASON.fullmatch(value)}


RAISED = {error.reason for error in all_subclasses(OperatorError)}


def test_reasons_are_found_at_all() -> None:
    assert {"Serving", "Fetching", "EngineDead", "InvalidSpec"} <= documented()
    assert {"Serving", "PodsNotReady", "MetricsUnavailable", "LoadFailed", "Loaded"} <= in_code()


@pytest.mark.parametrize("reason", sorted(documented() | in_code() | RAISED))
def test_every_reason_has_its_advice(reason: str) -> None:
    assert reason in ADVICE, f"say what to do about {reason} in plugin/advice.py"


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
