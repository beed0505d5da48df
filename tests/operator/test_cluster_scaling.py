"""Replicas on a real cluster: suspended, scaled by hand, by the real HorizontalPodAutoscaler; other pods.

The pods hold containers that do nothing, so they count as ready.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import PAUSE, Kubectl, OperatorProcess, eventually
from optional_kinds import PodMetrics

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

SOON = 5.0
DELETED = {"$patch": "delete"}
IDLE_PODS = {
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "fetch", "image": "localhost/busybox:1", "command": ["true"]}],
        "containers": [
            {"name": "triton", "image": PAUSE, "livenessProbe": None, "lifecycle": DELETED},
            {"name": "frontend", "image": PAUSE, "lifecycle": DELETED}
            | dict.fromkeys(("startupProbe", "livenessProbe", "readinessProbe"), DELETED),
        ],
    }
}


def nano(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {"model": {"uri": "image:///models/nano"}, "podTemplate": IDLE_PODS} | spec,
    }


def model(kubectl: Kubectl) -> dict[str, Any]:
    return kubectl.get("cmodel", "nano") or {}


def condition(kubectl: Kubectl, kind: str) -> dict[str, Any]:
    conditions = model(kubectl).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def replicas(kubectl: Kubectl) -> int | None:
    return (kubectl.get("deployment", "nano") or {}).get("spec", {}).get("replicas")


def serves(kubectl: Kubectl, count: int) -> bool:
    status = model(kubectl).get("status", {})
    return status.get("readyReplicas") == count and condition(kubectl, "Ready").get("reason") == "Serving"


# --- by hand ------------------------------------------------------------------------------------------------


def test_a_suspended_model_has_no_pods_and_comes_back_as_it_was(kubectl: Kubectl) -> None:
    kubectl.apply(nano(replicas=2))
    eventually(lambda: serves(kubectl, 2))
    assert kubectl.get("pdb", "nano")
    service = (kubectl.get("service", "nano") or {})["metadata"]["uid"]

    kubectl.patch("cmodel", "nano", {"spec": {"suspend": True}})
    eventually(lambda: model(kubectl)["status"]["phase"] == "Suspended", SOON)
    eventually(lambda: not kubectl.list("pods", "app.kubernetes.io/instance=nano"))
    kubectl("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=10s")  # Current, as kstatus has it
    assert condition(kubectl, "Ready")["reason"] == "Suspended"
    assert model(kubectl)["status"]["observedGeneration"] == model(kubectl)["metadata"]["generation"]
    assert not kubectl.get("pdb", "nano")
    assert (kubectl.get("service", "nano") or {})["metadata"]["uid"] == service

    kubectl.patch("cmodel", "nano", {"spec": {"suspend": False}})
    eventually(lambda: serves(kubectl, 2))


def test_kubectl_scale_is_followed_and_the_scale_tells_the_pods(kubectl: Kubectl) -> None:
    kubectl.apply(nano())
    eventually(lambda: serves(kubectl, 1))
    kubectl("scale", "cmodel/nano", "--replicas=3")
    eventually(lambda: replicas(kubectl) == 3, SOON)
    eventually(lambda: serves(kubectl, 3))
    path = f"/apis/serving.controllable.dev/v1alpha1/namespaces/{kubectl.namespace}"
    scale = json.loads(kubectl("get", "--raw", f"{path}/controllablemodels/nano/scale"))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 3)
    pods = kubectl.list("pods", scale["status"]["selector"])
    assert len(pods) == 3


def test_nobody_gets_more_replicas_than_the_gpus_allow(kubectl: Kubectl) -> None:
    kubectl.apply(nano(gpu={"count": 1}, scaling={"maxGPUs": 2}))
    kubectl("scale", "cmodel/nano", "--replicas=5")
    eventually(lambda: replicas(kubectl) == 2, SOON)


# --- by an autoscaler ---------------------------------------------------------------------------------------


def test_without_a_source_of_metrics_the_replicas_stay_and_the_condition_says_why(kubectl: Kubectl) -> None:
    kubectl.apply(nano(scaling={"maxReplicas": 3}))
    eventually(lambda: condition(kubectl, "ScalingActive").get("reason") == "MetricsUnavailable", SOON)
    assert "install KEDA" in condition(kubectl, "ScalingActive")["message"]
    assert not kubectl.list("hpa")


@pytest.fixture
def pod_metrics(cluster: Kubectl, kubectl: Kubectl, tmp_path: Path) -> Iterator[PodMetrics]:
    """A server of custom.metrics.k8s.io, in this process."""

    def pods(namespace: str, selector: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in Kubectl(namespace).list("pods", selector)]

    address = cluster("get", "nodes", "--output=jsonpath={.items[0].status.addresses[0].address}")
    metrics = PodMetrics(pods, tmp_path, address)
    for manifest in metrics.manifests(kubectl.namespace):
        kubectl.apply(manifest)
    cluster("wait", "--for=condition=Available", f"apiservice/{metrics.NAME}", "--timeout=60s")
    yield metrics
    cluster("delete", "apiservice", metrics.NAME)
    metrics.close()


def test_a_horizontal_pod_autoscaler_sets_the_replicas_and_is_never_fought(
    kubectl: Kubectl, pod_metrics: PodMetrics, record_property: Any
) -> None:
    kubectl.apply(nano(scaling={"maxReplicas": 3, "targets": {"waitingRequests": 10}}))
    eventually(lambda: kubectl.get("hpa", "nano"))
    eventually(lambda: condition(kubectl, "ScalingActive").get("status") == "True", timeout=60)
    assert model(kubectl)["spec"]["replicas"] == 1

    pod_metrics.value = "25"
    eventually(lambda: model(kubectl)["spec"]["replicas"] == 3, timeout=60)
    eventually(lambda: replicas(kubectl) == 3, SOON)
    eventually(lambda: serves(kubectl, 3))
    (decision,) = eventually(lambda: model(kubectl)["status"].get("scaling", {}).get("decisions"))
    record_property("decision", decision)
    assert (decision["signal"], decision["from"], decision["to"]) == ("waitingRequests", 1, 3)
    assert decision["reason"] == "waitingRequests at 25, target 10"

    kubectl.patch("deployment", "nano", {"spec": {"replicas": 1}})  # drift is mended to what it says
    eventually(lambda: replicas(kubectl) == 3, SOON)
    kubectl.patch("cmodel", "nano", {"spec": {"suspend": True}})
    eventually(lambda: not kubectl.get("hpa", "nano"), SOON)
    assert model(kubectl)["spec"]["replicas"] == 3


# --- pods ---------------------------------------------------------------------------------------------------


def test_a_pod_template_that_the_server_does_not_take_is_an_invalid_spec(kubectl: Kubectl) -> None:
    wrong = [
        ({"containers": [{"name": "Not_A_Name", "image": PAUSE}]}, "Not_A_Name"),
        ({"nodeSelectors": {"a": "b"}}, "nodeSelectors"),
        ({"priorityClassName": 7}, "priorityClassName"),
        ({"restartPolicy": "Never"}, "restartPolicy"),
        ({"containers": {"triton": {}}}, "must be a list"),
    ]
    for spec, named in wrong:
        kubectl.apply(nano(podTemplate={"spec": spec}))
        generation = model(kubectl)["metadata"]["generation"]

        def told(generation: int = generation) -> bool:
            ready = condition(kubectl, "Ready")
            current = ready.get("observedGeneration") == generation
            return current and ready["reason"] == "InvalidSpec"

        eventually(told, SOON)
        assert named in condition(kubectl, "Ready")["message"]
        assert condition(kubectl, "Stalled")["status"] == "True"
    kubectl.apply(nano())
    eventually(lambda: serves(kubectl, 1), timeout=60)


def test_the_charts_role_is_enough_for_all_of_this(kubectl: Kubectl, operator: OperatorProcess) -> None:
    log = operator.log.read_text()
    assert " cannot " not in log
    assert "Not enough permissions" not in log
    assert "Traceback" not in log
