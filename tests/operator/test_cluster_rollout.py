"""Rollouts on a real cluster. The pods pretend: a web server answers their probes and tells their metrics."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_fixtures import Kubectl, OperatorProcess, eventually
from optional_kinds import HTTP_ROUTES

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator"), pytest.mark.timeout(180)]

OURS = "app.kubernetes.io/managed-by=controllable-operator"
CANARY = {"strategy": "Canary", "steps": [50], "interval": "3s"}
# Serves the probes' paths, and a page of metrics with so many good and bad answers more every second.
PRETEND = """
mkdir -p /tmp/www/health && cd /tmp/www && echo ok > health/frontend && echo ok > health/ready
n=0
trap 'exit 0' TERM
httpd -f -p 8080 -h /tmp/www &
while true; do
  for count in 200:$GOOD 500:$BAD; do
    echo "controllable_frontend_requests_total{status=\\"${count%:*}\\"} $((n * ${count#*:}))"
  done > new && mv new metrics
  n=$((n + 1))
  sleep 1 & wait $!
done
"""


def pretending(good: int = 100, bad: int = 0, command: str = PRETEND) -> dict[str, Any]:
    """A podTemplate; every pair of numbers makes another revision."""
    image = "localhost/busybox:1"
    env = [{"name": "GOOD", "value": str(good)}, {"name": "BAD", "value": str(bad)}]
    asleep = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]
    resources = {"requests": {"cpu": "5m", "memory": "8Mi"}}
    triton = {"image": image, "command": asleep, "livenessProbe": None, "resources": resources}
    frontend = {"image": image, "command": ["sh", "-c", command], "env": env, "resources": resources}
    return {
        "spec": {
            "initContainers": [{"name": "fetch", "image": image, "command": ["true"]}],
            "containers": [
                {"name": "triton", "lifecycle": None} | triton,
                {"name": "frontend", "lifecycle": None, "readinessProbe": {"periodSeconds": 1}} | frontend,
            ],
        }
    }


def nano(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {
            "model": {"uri": "image:///models/nano"},
            "serving": {"drainTimeout": "1s"},
            "replicas": 2,
            "rollout": CANARY,
            "podTemplate": pretending(),
        }
        | spec,
    }


@pytest.fixture
def serving(kubectl: Kubectl) -> Kubectl:
    """A model that serves on two pods."""
    kubectl.apply(nano())
    kubectl("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=60s")
    return kubectl


def rollout(kubectl: Kubectl) -> dict[str, Any]:
    return dict((kubectl.get("cmodel", "nano") or {})["status"].get("rollout", {}))


def is_in(kubectl: Kubectl, state: str) -> bool:
    """Whether the rollout of the newest generation is in that state."""
    model = kubectl.get("cmodel", "nano") or {}
    status = model["status"]
    observed = status["observedGeneration"] == model["metadata"]["generation"]
    return bool(observed and status["rollout"]["state"] == state)


def deployments(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in kubectl.list("deployments", OURS)}


def change(kubectl: Kubectl, **spec: Any) -> None:
    kubectl.patch("cmodel", "nano", {"spec": spec})


def reasons(kubectl: Kubectl) -> set[str]:
    return {event["reason"] for event in kubectl.list("events")}


def test_a_good_canary_is_promoted_and_what_serves_is_never_fewer_than_asked_for(
    serving: Kubectl, record_property: Any
) -> None:
    before = deployments(serving)["nano"]["spec"]
    change(serving, podTemplate=pretending(101))
    start = time.monotonic()
    eventually(lambda: is_in(serving, "Watching"), 60)
    found = deployments(serving)
    assert found["nano"]["spec"] == before
    assert found["nano-canary"]["spec"]["replicas"] == 2
    fewest = 99

    def done() -> bool:
        nonlocal fewest
        fewest = min(fewest, deployments(serving)["nano"]["status"].get("readyReplicas", 0))
        return is_in(serving, "Complete")

    eventually(done, 120)
    record_property("canary_seconds", round(time.monotonic() - start, 1))
    assert fewest == 2
    assert set(deployments(serving)) == {"nano"}
    serving("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=10s")
    assert {"CanaryStarting", "CanaryWatched", "CanaryPromoted", "RolloutComplete"} <= reasons(serving)


def test_a_canary_whose_requests_fail_is_rolled_back_and_the_way_back_is_free(serving: Kubectl) -> None:
    before = deployments(serving)["nano"]["spec"]
    change(serving, podTemplate=pretending(100, bad=10))
    serving("wait", "--for=condition=Stalled", "cmodel/nano", "--timeout=60s")
    assert rollout(serving)["state"] == "RolledBack"
    assert "requests to the new revision failed, more than maxErrorRate 0.01" in rollout(serving)["reason"]
    eventually(lambda: set(deployments(serving)) == {"nano"}, 10)
    assert deployments(serving)["nano"]["spec"] == before
    assert "RolledBack" in reasons(serving)
    # Ready is False, as the newest generation does not serve: a pipeline must not take it for delivered.
    assert serving.run("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=1s").returncode != 0

    change(serving, podTemplate=pretending())
    serving("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=30s")
    assert is_in(serving, "Complete")


def test_a_canary_that_crashes_is_rolled_back(serving: Kubectl) -> None:
    change(serving, podTemplate=pretending(command="exit 3"))
    eventually(lambda: is_in(serving, "RolledBack"), 90)
    assert "exited with code 3" in rollout(serving)["reason"]
    assert deployments(serving)["nano"]["status"]["readyReplicas"] == 2


def test_a_canary_is_watched_by_readiness_alone_where_no_request_comes(serving: Kubectl) -> None:
    change(serving, podTemplate=pretending(0))
    eventually(lambda: is_in(serving, "Promoting"), 60)
    assert "no request came to the new revision, so only its readiness counted" in rollout(serving)["reason"]


def test_a_replaced_configuration_goes_once_no_pod_reads_it(serving: Kubectl) -> None:
    change(serving, rollout={"strategy": "RollingUpdate"}, control={"trace": "full"})
    eventually(lambda: len(serving.list("configmaps", OURS)) == 2, 10)
    eventually(lambda: is_in(serving, "Complete"), 90)
    eventually(lambda: len(serving.list("configmaps", OURS)) == 1, 60)


def test_a_configuration_cannot_be_changed_and_comes_back_when_deleted(serving: Kubectl) -> None:
    (config_map,) = serving.list("configmaps", OURS)
    name = config_map["metadata"]["name"]
    assert "immutable" in serving.run("patch", "configmap", name, "--patch", '{"data": {"x": "1"}}').stderr
    serving("delete", "configmap", name)
    eventually(lambda: serving.get("configmap", name), 5)


@pytest.fixture
def gateway_api(cluster: Kubectl, operator: OperatorProcess) -> Iterator[None]:
    cluster.apply(HTTP_ROUTES)
    yield
    cluster("delete", "crd", HTTP_ROUTES["metadata"]["name"])


@pytest.mark.usefixtures("gateway_api")
def test_a_gateway_gets_the_weights_of_each_step(serving: Kubectl) -> None:
    def weights() -> dict[str, int]:
        (rule,) = (serving.get("httproute", "nano") or {})["spec"]["rules"]
        return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}

    change(serving, rollout=CANARY | {"steps": [25], "interval": "5s", "gateway": {"name": "public"}})
    eventually(lambda: serving.get("httproute", "nano"), 30)
    assert weights() == {"nano": 100}
    change(serving, podTemplate=pretending(102))
    eventually(lambda: is_in(serving, "Watching"), 60)
    eventually(lambda: weights() == {"nano": 75, "nano-canary": 25}, 5)
    assert deployments(serving)["nano-canary"]["spec"]["replicas"] == 1
    eventually(lambda: is_in(serving, "Complete"), 90)
    eventually(lambda: weights() == {"nano": 100}, 5)
