"""The operator's role is held to its use: what the API server saw it used for, and little else.

That needs the API server's own record (AUDIT_LOG), which the local cluster keeps of all that runs in pods.
People's rights come from the cluster's own roles.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_fixtures import Kubectl, OperatorProcess, eventually, helm_template
from controllable_operator.kinds import AUTOSCALER, OPTIONAL_CHILD_KINDS

pytestmark = [pytest.mark.cluster]

OURS = "app.kubernetes.io/managed-by=controllable-operator"
SOON = 10.0

Right = tuple[str, str]  # resource with its subresource, verb

OPTIONAL = [kind.plural for kind in (*OPTIONAL_CHILD_KINDS, AUTOSCALER)]
WHOLE = ("get", "list", "watch", "create", "patch", "delete")
# Rights that a short life on this cluster has no use for, and why they are held.
UNSEEN: dict[Right, str] = {
    ("controllablemodels/finalizers", "update"): "for an admission plugin that this API server has not on",
    ("events", "get"): "to count an event again, after a restart",
    ("events", "patch"): "to count an event again",
    ("resourcequotas", "list"): "of a pod that gets no claim on GPUs",
    **{(kind, "delete"): "a canary's" for kind in ("configmaps", "services", "deployments")},
    ("controllerrevisions", "delete"): "of revisions too old to go back to",
    **{("persistentvolumeclaims", verb): "a cache's" for verb in ("get", "create", "patch", "delete")},
    **{(kind, verb): "no such kind, or no metrics, on this cluster" for kind in OPTIONAL for verb in WHOLE},
}


def allowed() -> set[Right]:
    documents = yaml.safe_load_all(helm_template("controllable-operator"))
    role = next(document for document in documents if document and document["kind"] == "ClusterRole")
    return {
        (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }


def used(log: Path, user: str) -> set[Right]:
    """What the API server let this user do."""
    found = set()
    for line in log.read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        what = event.get("objectRef")
        if event["user"]["username"] == user and what and event["responseStatus"]["code"] != 403:
            part = f"/{what['subresource']}" if "subresource" in what else ""
            found.add((what["resource"] + part, event["verb"]))
            if (event["verb"], event["responseStatus"]["code"]) == ("patch", 201):
                found.add((what["resource"] + part, "create"))  # applied, where there was nothing
    return found


@pytest.fixture
def operator_user(operator_kubeconfig: Path) -> str:
    """The ServiceAccount as which the operator runs."""
    namespace = yaml.safe_load(operator_kubeconfig.read_text())["contexts"][0]["context"]["namespace"]
    return f"system:serviceaccount:{namespace}:{namespace}-controllable-operator"


@pytest.fixture
def audit_log() -> Path:
    if "AUDIT_LOG" not in os.environ:
        pytest.skip("needs the API server's record: python -m dev.cluster enter -- pytest -m cluster")
    return Path(os.environ["AUDIT_LOG"])


def test_every_right_is_used_or_has_a_reason(
    audit_log: Path, operator: OperatorProcess, operator_user: str, kubectl: Kubectl
) -> None:
    model = {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {"model": {"uri": "image:///models/nano"}, "replicas": 2},
    }
    children = "configmaps,services,networkpolicies,deployments,poddisruptionbudgets"

    def kinds() -> set[str]:
        return {child["kind"] for child in kubectl.list(children, OURS)}

    kubectl.apply(model)
    eventually(lambda: len(kinds()) == 5, SOON)
    kubectl.patch("cmodel", "nano", {"spec": {"networkPolicy": {"enabled": False}, "replicas": 1}})
    eventually(lambda: kinds() == {"ConfigMap", "Service", "Deployment"}, SOON)
    kubectl.patch("cmodel", "nano", {"spec": {"serving": {"image": "localhost/nothing-here:1"}}})
    eventually(lambda: ("events", "create") in used(audit_log, operator_user), timeout=30)

    rights, seen = allowed(), used(audit_log, operator_user)
    assert rights - seen - UNSEEN.keys() == set()
    assert UNSEEN.keys() - rights == set()


@pytest.mark.parametrize(("role", "writes"), [("view", False), ("edit", True), ("admin", True)])
def test_people_have_rights_on_models_by_the_clusters_own_roles(
    definitions: None, kubectl: Kubectl, role: str, writes: bool
) -> None:
    ours = helm_template("controllable-crds", "--show-only=templates/roles.yaml")
    kubectl("apply", "--filename=-", stdin=ours)
    kubectl("create", "rolebinding", role, f"--clusterrole={role}", "--user=somebody")

    def may(verb: str, *part: str) -> bool:
        return kubectl.run("auth", "can-i", verb, "cmodel", *part, "--as=somebody").returncode == 0

    def rights() -> tuple[bool, bool, bool]:
        return may("get"), may("create"), may("patch", "--subresource=scale")

    eventually(lambda: rights() == (True, writes, writes))  # the cluster aggregates in its own time
    assert not may("patch", "--subresource=status")
