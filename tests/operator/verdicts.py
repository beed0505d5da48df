"""How tools that wait judge a ControllableModel: Argo CD, kstatus (Flux, Helm 4), kubectl wait."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from lupa import lua51

Manifest = dict[str, Any]

DONE, GOING, FAILED, LEAVING = "done", "going on", "failed", "leaving"

_ARGO_CM = Path(__file__).parents[2] / "docs/gitops/argocd-cm.yaml"
_ARGO_KEY = "resource.customizations.health.serving.controllable.dev_ControllableModel"
_ARGO = {"Healthy": DONE, "Progressing": GOING, "Degraded": FAILED}
_KSTATUS = {"Current": DONE, "InProgress": GOING, "Failed": FAILED, "Terminating": LEAVING}


def argo_health(model: Manifest) -> dict[str, str]:
    """What the script that users put into argocd-cm returns. Argo's own interpreter speaks Lua 5.1, too."""
    script = yaml.safe_load(_ARGO_CM.read_text())["data"][_ARGO_KEY]
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    lua.globals().obj = lua.table_from(model, recursive=True)
    return dict(lua.execute(script))


def argo(model: Manifest) -> str:
    if "deletionTimestamp" in model["metadata"]:  # Argo CD asks no script about what is being deleted
        return LEAVING
    return _ARGO[argo_health(model)["status"]]


def kubectl_wait(model: Manifest) -> str:
    """Whether `kubectl wait --for=condition=Ready` would return. It knows no failure, only its time limit."""
    if "deletionTimestamp" in model["metadata"]:
        return LEAVING
    for condition in model.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return DONE if condition["observedGeneration"] >= model["metadata"]["generation"] else GOING
    return GOING


def kstatus(program: Path, models: list[Manifest]) -> list[str]:
    """The verdicts of the library itself."""
    result = subprocess.run(
        [program], input="\n".join(map(json.dumps, models)), capture_output=True, text=True, check=True
    )
    return [_KSTATUS[json.loads(line)["status"]] for line in result.stdout.splitlines()]


def disagreement(model: Manifest, kstatus_verdict: str) -> str | None:
    """What one of the tools says that another doesn't; None where all agree."""
    said = {"argo": argo(model), "kstatus": kstatus_verdict}
    wait = kubectl_wait(model)
    agreed = said["argo"] == said["kstatus"] and (
        wait == said["argo"] or (said["argo"] == FAILED and wait == GOING)
    )
    return None if agreed else f"{said | {'kubectl wait': wait}} of {json.dumps(model.get('status'))}"
