"""The charts: what they render, what values they refuse, and whether a strict namespace takes it."""

import subprocess
from typing import Any

import pytest
import yaml
from cluster_fixtures import ROOT, Kubectl, helm_template
from controllable_operator.kinds import CHILD_KINDS, OPTIONAL_CHILD_KINDS

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]


def rendered(chart: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """The manifests by kind, without those of `helm test`."""
    documents = [d for d in yaml.safe_load_all(helm_template(chart, *arguments)) if d]
    return {d["kind"]: d for d in documents if "helm.sh/hook" not in d["metadata"].get("annotations", {})}


def refusal(chart: str, *values: str) -> str:
    with pytest.raises(AssertionError) as error:
        helm_template(chart, *(f"--set={value}" for value in values))
    return str(error.value)


@pytest.mark.parametrize("chart", ["controllable-operator", "controllable-crds"])
def test_helm_finds_nothing_to_complain_about(chart: str) -> None:
    command = ["helm", "lint", "--strict", str(ROOT / "charts" / chart)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_definitions_survive_an_uninstall_unless_told_otherwise() -> None:
    kept = rendered("controllable-crds")["CustomResourceDefinition"]
    dropped = rendered("controllable-crds", "--set=keep=false")["CustomResourceDefinition"]
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in dropped["metadata"]
    plain = yaml.safe_load(next((ROOT / "crds").glob("*.yaml")).read_text())
    assert kept["spec"] == dropped["spec"] == plain["spec"]


def test_the_clusters_roles_gain_models_but_not_their_status_unless_told_otherwise() -> None:
    chart = "controllable-crds"
    roles = [d for d in yaml.safe_load_all(helm_template(chart)) if d and d["kind"] == "ClusterRole"]
    reads = {"get", "list", "watch"}
    writes = {"create", "update", "patch", "delete", "deletecollection"}
    assert {
        label: {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}
        for role in roles
        for label in role["metadata"]["labels"]
    } == {
        "rbac.authorization.k8s.io/aggregate-to-view": {
            f"controllablemodels{part}": reads for part in ("", "/status", "/scale")
        },
        "rbac.authorization.k8s.io/aggregate-to-edit": {
            "controllablemodels": writes,
            "controllablemodels/scale": {"update", "patch"},
        },
    }
    assert "ClusterRole" not in rendered(chart, "--set=aggregateRoles=false")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("replicas=0", "replicas"),
        ("replicaCount=3", "replicaCount"),
        ("runtime.image=", "image"),
        ("image.digest=latest", "digest"),
        ("logLevel=LOUD", "logLevel"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(value: str, field: str) -> None:
    assert field in refusal("controllable-operator", value)


def test_of_two_operators_one_works_and_one_stays_when_a_node_is_drained() -> None:
    documents = rendered("controllable-operator")
    spec = documents["Deployment"]["spec"]
    assert spec["replicas"] == 2
    assert "--leader-elect" in spec["template"]["spec"]["containers"][0]["args"]
    budget = documents["PodDisruptionBudget"]["spec"]
    assert (budget["maxUnavailable"], budget["selector"]) == (1, spec["selector"])
    assert "PodDisruptionBudget" not in rendered("controllable-operator", "--set=replicas=1")


def test_the_lease_is_the_only_one_that_the_operator_may_touch() -> None:
    create, take = rendered("controllable-operator")["Role"]["rules"]
    assert create["verbs"] == ["create"]
    assert (take["resourceNames"], take["verbs"]) == (["controllable-operator"], ["get", "update"])


def test_a_digest_wins_over_the_tag() -> None:
    digest = "sha256:" + "0" * 64
    deployment = rendered("controllable-operator", f"--set=image.digest={digest},image.tag=x")["Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f"@{digest}")


def test_the_role_lets_the_operator_write_children_and_statuses_only() -> None:
    writes = {"create", "update", "patch", "delete"}
    allowed = {
        resource: writes & set(rule["verbs"])
        for rule in rendered("controllable-operator")["ClusterRole"]["rules"]
        for resource in rule["resources"]
        if writes & set(rule["verbs"])
    }
    children = [kind.plural for kind in (*CHILD_KINDS, *OPTIONAL_CHILD_KINDS)]
    assert allowed == {child: {"create", "patch", "delete"} for child in children} | {
        "controllablemodels/status": {"patch"},
        "controllablemodels/finalizers": {"update"},
        "events": {"create", "patch"},
    }


def test_nothing_that_the_charts_hold_reads_a_secret() -> None:
    for rule in [r for d in rendered("controllable-operator").values() for r in d.get("rules", [])]:
        assert "secrets" not in rule["resources"]
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_a_restricted_namespace_takes_the_operator_without_a_warning(kubectl: Kubectl) -> None:
    text = helm_template("controllable-operator", f"--namespace={kubectl.namespace}", "--no-hooks")
    result = kubectl.run("create", "--dry-run=server", "--filename=-", stdin=text)
    problems = [line for line in result.stderr.splitlines() if "already exists" not in line]
    assert problems == []


def test_the_charts_can_be_installed_and_removed(kubectl: Kubectl) -> None:
    def helm(*arguments: str) -> None:
        command = ["helm", *arguments, f"--namespace={kubectl.namespace}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    name = f"op-{kubectl.namespace}"[:40]
    helm("install", name, str(ROOT / "charts/controllable-operator"))
    try:
        pods = kubectl.get("deployment", f"{name}-controllable-operator")
        assert pods is not None
    finally:
        helm("uninstall", name, "--wait")
    assert not kubectl.list("deployments,serviceaccounts", f"app.kubernetes.io/instance={name}")
    assert not kubectl.list("clusterroles,clusterrolebindings", f"app.kubernetes.io/instance={name}")
