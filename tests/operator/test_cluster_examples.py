"""Every example is really applied, and the operator makes of it what it makes of a model."""

import json
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import ROOT, Kubectl, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
IMPOSSIBLE = {"InvalidSpec", "NameConflict", "Forbidden", "ApiError", "Conflict"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_applied_and_has_pods(kubectl: Kubectl, path: Path) -> None:
    made = json.loads(kubectl("apply", f"--filename={path}", "--output=json"))
    models = [item for item in made.get("items", [made]) if item["kind"] == "ControllableModel"]
    assert models

    def told(name: str) -> str:
        status: dict[str, Any] = (kubectl.get("cmodel", name) or {})["status"]
        assert status["observedGeneration"] == 1
        return next(str(c["reason"]) for c in status["conditions"] if c["type"] == "Ready")

    for model in models:
        name = model["metadata"]["name"]
        assert eventually(lambda name=name: told(name)) not in IMPOSSIBLE
        eventually(lambda name=name: kubectl.list("pods", f"app.kubernetes.io/instance={name}"))
