"""The operator against a real API server: what it makes, what it mends, what it leaves alone, what it says.

No pod becomes ready here: the runtime image is one that does nothing.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_fixtures import PAUSE, Kubectl, OperatorProcess, eventually
from controllable_operator.client import Client
from controllable_operator.kinds import WATCHED_KINDS
from controllable_operator.metrics import WRITES
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.watches import refill

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

CHILDREN = "deployments,services,configmaps,networkpolicies"
OURS = "app.kubernetes.io/managed-by=controllable-operator"
SOON = 5.0  # seconds in which a person expects an answer


def nano(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {"model": {"uri": "image:///models/nano"}} | spec,
    }


def children(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in kubectl.list(CHILDREN, OURS)}


def condition(kubectl: Kubectl, kind: str) -> dict[str, Any]:
    model = kubectl.get("cmodel", "nano") or {}
    conditions = model.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


@pytest.fixture
def serving(kubectl: Kubectl) -> Kubectl:
    """A namespace with model nano in it, its children made and its status written."""
    kubectl.apply(nano())
    eventually(lambda: condition(kubectl, "ModelLoaded").get("reason") == "Fetching")
    return kubectl


def test_applying_a_model_makes_its_children(kubectl: Kubectl, record_property: Any) -> None:
    kubectl.apply(nano())
    start = time.monotonic()
    eventually(
        lambda: set(children(kubectl)) == {"Deployment", "Service", "ConfigMap", "NetworkPolicy"}, SOON
    )
    record_property("apply_to_children_seconds", round(time.monotonic() - start, 2))


def test_pods_are_made_in_a_namespace_that_enforces_restricted(serving: Kubectl) -> None:
    (pod,) = serving.list("pods", OURS)
    assert pod["spec"]["containers"][0]["image"] == PAUSE


def test_the_status_tells_where_clients_go_and_how_far_it_got(serving: Kubectl) -> None:
    status = (serving.get("cmodel", "nano") or {})["status"]
    assert status["endpoints"]["openai"] == f"http://nano.{serving.namespace}.svc/v1"
    assert status["observedGeneration"] == 1
    assert (status["phase"], status["replicas"], status["readyReplicas"]) == ("Fetching", 1, 0)
    assert condition(serving, "Ready")["reason"] == "Progressing"


def test_the_model_itself_is_never_written_but_for_its_status(serving: Kubectl) -> None:
    model = serving.get("cmodel", "nano") or {}
    assert "finalizers" not in model["metadata"]
    assert set(model["metadata"]["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    assert model["metadata"]["generation"] == 1


def test_a_change_of_control_reaches_the_engine_and_rolls_the_pods(serving: Kubectl) -> None:
    before = children(serving)["Deployment"]
    serving.patch("cmodel", "nano", {"spec": {"control": {"pathPruning": {"maxPaths": 4}}}})

    def rolled() -> bool:
        found = children(serving)
        template = found["Deployment"]["spec"]["template"]
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        config_map = serving.get("configmap", volumes["config"]["configMap"]["name"]) or {}
        engine = json.loads(config_map["data"]["engine.json"])
        return (
            engine["control"]["pathPruning"]["maxPaths"] == 4
            and template["metadata"]["annotations"] != before["spec"]["template"]["metadata"]["annotations"]
        )

    eventually(rolled, SOON)
    eventually(lambda: (serving.get("cmodel", "nano") or {})["status"]["observedGeneration"] == 2, SOON)


def test_kubectl_scale_sets_the_replicas(serving: Kubectl) -> None:
    serving("scale", "cmodel/nano", "--replicas=2")
    eventually(lambda: children(serving)["Deployment"]["spec"]["replicas"] == 2, SOON)
    eventually(lambda: len(serving.list("pods", OURS)) == 2, SOON)


def test_a_model_scaled_to_zero_is_ready_on_purpose(serving: Kubectl) -> None:
    serving.patch("cmodel", "nano", {"spec": {"replicas": 0}})
    serving("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=10s")
    assert condition(serving, "Ready")["reason"] == "ScaledToZero"


def test_turning_the_network_policy_off_removes_it(serving: Kubectl) -> None:
    serving.patch("cmodel", "nano", {"spec": {"networkPolicy": {"enabled": False}}})
    eventually(lambda: "NetworkPolicy" not in children(serving), SOON)


DRIFT: list[tuple[str, str, str, dict[str, Any]]] = [
    ("replicas", "deployment", "nano", {"spec": {"replicas": 3}}),
    ("selector", "service", "nano", {"spec": {"selector": {"version": "2"}}}),
    ("peers", "networkpolicy", "nano", {"spec": {"ingress": [{}]}}),
    ("labels", "service", "nano", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
]


@pytest.mark.parametrize(("what", "kind", "name", "patch"), DRIFT, ids=[what for what, *_ in DRIFT])
def test_drift_is_repaired_within_seconds(
    serving: Kubectl, record_property: Any, what: str, kind: str, name: str, patch: dict[str, Any]
) -> None:
    before = serving.get(kind, name) or {}
    serving.patch(kind, name, patch)
    start = time.monotonic()

    def repaired() -> bool:
        now = serving.get(kind, name) or {}
        parts = ("spec", "data")
        return now["metadata"]["labels"] == before["metadata"]["labels"] and all(
            now.get(part) == before.get(part) for part in parts
        )

    eventually(repaired, SOON)
    record_property("drift_repair_seconds", round(time.monotonic() - start, 2))


@pytest.mark.parametrize("kind", ["deployment", "service", "networkpolicy"])
def test_a_deleted_child_comes_back(serving: Kubectl, record_property: Any, kind: str) -> None:
    before = (serving.get(kind, "nano") or {})["metadata"]["uid"]
    serving("delete", kind, "nano", "--wait=false")
    start = time.monotonic()
    eventually(
        lambda: (serving.get(kind, "nano") or {}).get("metadata", {}).get("uid", before) != before, SOON
    )
    record_property("deleted_child_back_seconds", round(time.monotonic() - start, 2))


def test_fields_of_others_are_left_alone(serving: Kubectl) -> None:
    serving("annotate", "service", "nano", "example.com/team=a")
    serving("label", "deployment", "nano", "example.com/cost-center=7")
    serving.patch("deployment", "nano", {"spec": {"replicas": 2}})  # drift, so that it is written
    eventually(lambda: children(serving)["Deployment"]["spec"]["replicas"] == 1, SOON)
    found = children(serving)
    assert found["Service"]["metadata"]["annotations"]["example.com/team"] == "a"
    assert found["Deployment"]["metadata"]["labels"]["example.com/cost-center"] == "7"


NOTHING_ASKED_FOR = {
    "hostNetwork": False,
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
    "priorityClassName": "",
    "securityContext": {"supplementalGroups": []},
    "volumes": [{"name": "more", "emptyDir": {"medium": "", "sizeLimit": "1024Mi"}}],
    "containers": [
        {
            "name": "frontend",
            "tty": False,
            "workingDir": "",
            "envFrom": [],
            "env": [{"name": "EMPTY", "value": ""}],
            "volumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": False, "subPath": ""}],
            "readinessProbe": {"initialDelaySeconds": 0, "successThreshold": 0},
            "resources": {"limits": {"cpu": 0.5}},
        },
        {"name": "sidecar", "image": PAUSE, "ports": [{"containerPort": 9000, "hostPort": 0}]}
        | {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}},
    ],
}
NO_VALUES = {"key": "app", "operator": "Exists", "values": []}
EMPTY_PARTS: list[dict[str, Any]] = [
    {},
    {"serving": {"resources": {"requests": {}, "limits": {}}}},
    {"networkPolicy": {"allowFrom": [{"podSelector": {"matchLabels": {}, "matchExpressions": []}}]}},
    {"networkPolicy": {"allowFrom": [{"podSelector": {"matchExpressions": [NO_VALUES]}}]}},
    {"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": []}}]}},
    {"podTemplate": {"spec": NOTHING_ASKED_FOR}},
]


@pytest.mark.parametrize("spec", EMPTY_PARTS, ids=["plain", "amounts", "selector", "values", "except", "pod"])
def test_while_nothing_changes_nothing_is_written(serving: Kubectl, spec: dict[str, Any]) -> None:
    client, store = Client.from_environment(), Store()
    context = Context(client, store, Settings(runtime_image=PAUSE))
    serving.patch("cmodel", "nano", {"spec": spec})

    def versions() -> list[str]:
        items = [*serving.list(CHILDREN, OURS), serving.get("cmodel", "nano") or {}]
        return [item["metadata"]["resourceVersion"] for item in items]

    def settled() -> bool:
        before = versions()
        time.sleep(1)
        return versions() == before

    def writes() -> float:
        samples = [sample for metric in WRITES.collect() for sample in metric.samples]
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    eventually(settled)
    for kind in WATCHED_KINDS:
        refill(client, store, kind)
    before, written = versions(), writes()
    for _ in range(20):
        reconcile(context, serving.namespace, "nano")
    assert versions() == before
    assert writes() == written  # an apply that changes nothing leaves the version as it is


def test_a_foreign_object_of_the_same_name_is_left_alone_and_told(kubectl: Kubectl) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "nano"},
        "spec": {"ports": [{"port": 1234}], "selector": {"app": "other"}},
    }
    kubectl.apply(foreign)
    kubectl.apply(nano())
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "NameConflict", SOON)
    assert "Service nano exists and does not belong to this model" in condition(kubectl, "Ready")["message"]
    assert condition(kubectl, "Stalled")["status"] == "True"
    assert not children(kubectl)
    assert (kubectl.get("service", "nano") or {})["spec"]["ports"][0]["port"] == 1234
    events = eventually(
        lambda: kubectl("get", "events", "--field-selector=reason=NameConflict", "-o=name"), SOON
    )
    assert len(events.split()) == 1

    kubectl("delete", "service", "nano")
    eventually(lambda: len(children(kubectl)) == 4, timeout=30)
    eventually(lambda: not condition(kubectl, "Stalled"), SOON)


def test_a_spec_that_the_server_refuses_to_make_pods_from_is_told(kubectl: Kubectl) -> None:
    resources = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    kubectl.apply(nano(serving={"resources": resources}))
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "InvalidSpec", SOON)
    assert "must be less than or equal to memory limit" in condition(kubectl, "Ready")["message"]


@pytest.fixture
def unreachable_webhook(kubectl: Kubectl) -> Iterator[str]:
    """The name of an admission webhook that no Service in this namespace gets past."""
    name, namespace = f"{kubectl.namespace}.example.com", kubectl.namespace
    webhook = {
        "name": name,
        "clientConfig": {"service": {"name": "not-there", "namespace": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["services"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind, api = "ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1"
    kubectl.apply({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "webhooks": [webhook]})
    eventually(lambda: "failed calling webhook" in service_refusal(kubectl))
    yield name
    kubectl("delete", kind, name, "--ignore-not-found")


def service_refusal(kubectl: Kubectl) -> str:
    return kubectl.run("create", "service", "clusterip", "probe", "--tcp=80", "--dry-run=server").stderr


def test_a_webhook_that_does_not_answer_is_told_until_it_is_gone(
    kubectl: Kubectl, unreachable_webhook: str
) -> None:
    kubectl.apply(nano())
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "ApiError")
    message = condition(kubectl, "Ready")["message"]
    assert f'failed calling webhook "{unreachable_webhook}"' in message
    assert not condition(kubectl, "Stalled")
    kubectl("delete", "ValidatingWebhookConfiguration", unreachable_webhook)
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "Progressing", timeout=60)


def test_a_pod_that_fits_nowhere_is_told_in_the_schedulers_words(kubectl: Kubectl) -> None:
    kubectl.apply(nano(gpu={"count": 1}))
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "InsufficientCapacity")
    assert "nvidia.com/gpu" in condition(kubectl, "Ready")["message"]


def test_an_image_that_cannot_be_pulled_is_told(kubectl: Kubectl) -> None:
    kubectl.apply(nano(serving={"image": "localhost/nothing-here:1"}))
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "ImagePullFailed")
    assert "localhost/nothing-here:1" in condition(kubectl, "Ready")["message"]


def test_an_image_that_is_no_runtime_is_told(kubectl: Kubectl) -> None:
    kubectl.apply(nano(serving={"image": "localhost/busybox:1"}))
    eventually(lambda: condition(kubectl, "ModelLoaded").get("reason") == "LoadFailed")
    assert "fetch" in condition(kubectl, "Ready")["message"]


def test_a_namespace_that_allows_no_pods_is_told(kubectl: Kubectl) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    kubectl.apply(quota)
    eventually(lambda: (kubectl.get("resourcequota", "none") or {}).get("status", {}).get("hard"), SOON)
    kubectl.apply(nano())
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "InsufficientCapacity")
    assert "exceeded quota" in condition(kubectl, "Ready")["message"]


def test_deleting_a_model_leaves_nothing(serving: Kubectl, record_property: Any) -> None:
    start = time.monotonic()
    serving("delete", "cmodel", "nano", "--timeout=10s")
    eventually(lambda: not children(serving) and not serving.list("replicasets", OURS), timeout=20)
    eventually(lambda: not serving.list("pods", OURS), timeout=60)
    record_property("delete_to_nothing_seconds", round(time.monotonic() - start, 2))


def test_a_model_deleted_with_orphans_and_made_again_takes_them_over(serving: Kubectl) -> None:
    before = children(serving)["Service"]["metadata"]["uid"]
    serving("delete", "cmodel", "nano", "--cascade=orphan")
    eventually(lambda: not children(serving)["Service"]["metadata"].get("ownerReferences"))
    serving.apply(nano())
    eventually(lambda: children(serving)["Service"]["metadata"].get("ownerReferences"), SOON)
    assert children(serving)["Service"]["metadata"]["uid"] == before


def test_the_charts_role_is_enough_for_all_of_this(serving: Kubectl, operator: OperatorProcess) -> None:
    log = operator.log.read_text()
    assert "is forbidden: User" not in log
    assert "Not enough permissions" not in log
    assert "Traceback" not in log
