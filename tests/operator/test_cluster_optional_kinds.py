"""Kinds of others that come and go while the operator runs."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_fixtures import Kubectl, OperatorProcess, eventually
from optional_kinds import POD_MONITORS, PROMETHEUS_RULES, SCALED_OBJECTS

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

COMING, GOING = 20.0, 30.0  # seconds; the API server itself takes some to serve, and to forget, a kind


def nano(**spec: Any) -> dict[str, Any]:
    slo = {
        "latencyP99": "1200ms",
        "pathPruningRate": {"min": "0.6", "max": "0.7"},
        "budgetUtilisation": {"min": "0.85", "max": "0.95"},
    }
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {"model": {"uri": "image:///models/nano"}, "monitoring": {"slo": slo}} | spec,
    }


def reason(kubectl: Kubectl, kind: str) -> str | None:
    conditions = (kubectl.get("cmodel", "nano") or {}).get("status", {}).get("conditions", [])
    return next((c["reason"] for c in conditions if c["type"] == kind), None)


@pytest.fixture
def definitions_of_others(cluster: Kubectl) -> Iterator[Any]:
    """Installs definitions; whatever is left of them goes in the end."""
    names: list[str] = []

    def install(*manifests: dict[str, Any]) -> None:
        for manifest in manifests:
            cluster("create", "--filename=-", stdin=json.dumps(manifest))
            names.append(manifest["metadata"]["name"])

    yield install
    if names:
        cluster("delete", "crd", "--ignore-not-found", *names)


def test_monitoring_comes_and_goes_with_prometheus_operator(
    cluster: Kubectl, kubectl: Kubectl, definitions_of_others: Any, record_property: Any
) -> None:
    kubectl.apply(nano())
    eventually(lambda: reason(kubectl, "Monitored") == "CRDsMissing")
    assert not kubectl.get("configmap", "nano-dashboard")

    start = time.monotonic()
    definitions_of_others(POD_MONITORS, PROMETHEUS_RULES)
    eventually(lambda: reason(kubectl, "Monitored") == "Monitored", COMING)
    record_property("monitoring_after_seconds", round(time.monotonic() - start, 1))
    monitor = kubectl.get("podmonitor", "nano") or {}
    assert monitor["spec"]["podTargetLabels"] == ["app.kubernetes.io/instance"]
    groups = (kubectl.get("prometheusrule", "nano") or {})["spec"]["groups"]
    assert [group["name"] for group in groups] == ["recordings", "alerts"]
    dashboard = kubectl.get("configmap", "nano-dashboard") or {}
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"

    kubectl.patch("podmonitor", "nano", {"spec": {"podTargetLabels": []}})  # children like any others
    eventually(lambda: (kubectl.get("podmonitor", "nano") or {})["spec"]["podTargetLabels"])
    kubectl("delete", "prometheusrule", "nano")
    eventually(lambda: kubectl.get("prometheusrule", "nano"))

    kubectl.patch("cmodel", "nano", {"spec": {"monitoring": {"enabled": False}}})
    eventually(lambda: reason(kubectl, "Monitored") == "Disabled")
    eventually(lambda: not kubectl.get("podmonitor", "nano"))
    kubectl.patch("cmodel", "nano", {"spec": {"monitoring": {"enabled": True}}})
    eventually(lambda: reason(kubectl, "Monitored") == "Monitored")

    cluster("delete", "crd", "podmonitors.monitoring.coreos.com")
    eventually(lambda: reason(kubectl, "Monitored") == "CRDsMissing", GOING)
    eventually(lambda: not kubectl.get("prometheusrule", "nano"))  # half of it would be of no use
    assert reason(kubectl, "Ready") == "Progressing"


def test_scaling_by_keda_comes_and_goes_with_it(
    cluster: Kubectl, kubectl: Kubectl, definitions_of_others: Any
) -> None:
    targets = {"kvUtilisation": 80, "latencyP99": "2s"}
    kubectl.apply(nano(scaling={"minReplicas": 0, "maxReplicas": 3, "targets": targets}))
    eventually(lambda: reason(kubectl, "ScalingActive") == "MetricsUnavailable")

    definitions_of_others(SCALED_OBJECTS)
    scaled = eventually(lambda: kubectl.get("scaledobject", "nano"), COMING)
    assert scaled["spec"]["scaleTargetRef"]["kind"] == "ControllableModel"
    assert scaled["spec"]["minReplicaCount"] == 1  # it has not been ready yet
    names = [trigger["name"] for trigger in scaled["spec"]["triggers"]]
    assert names == ["waitingRequests", "kvUtilisation", "latencyP99", "inFlight"]

    told = {"conditions": [{"type": "Ready", "status": "False", "message": "no such Prometheus"}]}
    kubectl("patch", "scaledobject", "nano", "--subresource=status", "--type=merge", "--patch",
            json.dumps({"status": told}))  # fmt: skip

    def message() -> str:
        conditions = (kubectl.get("cmodel", "nano") or {})["status"]["conditions"]
        return str(next(c["message"] for c in conditions if c["type"] == "ScalingActive"))

    eventually(lambda: message() == "KEDA: no such Prometheus")

    cluster("delete", "crd", "scaledobjects.keda.sh")
    eventually(lambda: message().startswith("nothing brings an autoscaler"), GOING)


def test_none_of_it_is_an_error_for_the_operator(kubectl: Kubectl, operator: OperatorProcess) -> None:
    kubectl.apply(nano())
    eventually(lambda: reason(kubectl, "Monitored") == "CRDsMissing")
    log = operator.log.read_text()
    assert " cannot " not in log
    assert "Traceback" not in log
    assert operator.process.poll() is None
