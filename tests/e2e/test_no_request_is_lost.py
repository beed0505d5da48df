"""Under load, with the real runtime: pods come and go in every way there is, and no request fails."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import Kubectl, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

GONE = 45.0  # seconds in which a pod that was told to stop has to be gone
COME_UP = 240.0  # seconds in which new pods serve on a small machine, beside the load and the old pods
SOURCE = Path(__file__).with_name("load.py").read_text()


class Load:
    """The load that runs beside a test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def told(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))


@pytest.fixture(scope="module")
def nano(kubectl: Kubectl) -> Kubectl:
    """A model that serves on one pod, the hardest case."""
    spec = {"model": {"uri": "image:///models/nano"}, "serving": {"drainTimeout": "30s"}}
    api, kind = "serving.controllable.dev/v1alpha1", "ControllableModel"
    kubectl.apply({"apiVersion": api, "kind": kind, "metadata": {"name": "nano"}, "spec": spec})
    kubectl("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=180s")
    return kubectl


@pytest.fixture(scope="module")
def load(nano: Kubectl) -> Iterator[Load]:
    """Clients in a pod beside the model, as clients are."""
    (serving,) = nano.list("pods", "app.kubernetes.io/instance=nano")
    container = serving["spec"]["containers"][0]
    spec = {
        "securityContext": serving["spec"]["securityContext"],
        "containers": [
            {
                "name": "load",
                "image": container["image"],
                "command": ["sleep", "3600"],
                "securityContext": container["securityContext"],
            }
        ],
        "terminationGracePeriodSeconds": 0,
    }
    nano.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": spec})
    nano("wait", "--for=condition=Ready", "pod/load", "--timeout=30s")
    command = ["kubectl", f"--namespace={nano.namespace}", "exec", "--stdin", "load", "--"]
    with subprocess.Popen(
        [*command, "python3", "-c", SOURCE, "http://nano"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        load = Load(process)
        eventually(lambda: load.told()["done"].get("long stream", 0) > 0, 60)
        yield load
        assert process.stdin is not None
        process.stdin.close()


def settled(kubectl: Kubectl, state: str) -> bool:
    """Whether the newest generation's rollout is in that state."""
    model = kubectl.get("cmodel", "nano") or {}
    status = model["status"]
    observed = status["observedGeneration"] == model["metadata"]["generation"]
    return bool(observed and status["rollout"]["state"] == state)


def change(kubectl: Kubectl, **spec: Any) -> None:
    kubectl.patch("cmodel", "nano", {"spec": spec})


def pods(kubectl: Kubectl) -> set[str]:
    return {pod["metadata"]["name"] for pod in kubectl.list("pods", "app.kubernetes.io/instance=nano")}


@pytest.fixture
def served(load: Load, record_property: Any) -> Iterator[None]:
    """Around a test: requests of every kind were answered meanwhile, and none failed."""
    before = load.told()
    assert before["failures"] == []
    yield
    eventually(lambda: all(load.told()["done"][kind] > n for kind, n in before["done"].items()), 60)
    after = load.told()
    record_property("answered", {kind: n - before["done"][kind] for kind, n in after["done"].items()})
    assert after["failures"] == []


@pytest.mark.usefixtures("served")
def test_a_rolling_change_loses_no_request(nano: Kubectl) -> None:
    old = pods(nano)
    change(nano, control={"trace": "full"})
    eventually(lambda: settled(nano, "Complete"), COME_UP)
    eventually(lambda: not old & pods(nano), GONE)


@pytest.mark.usefixtures("served")
def test_a_canary_that_is_promoted_loses_no_request(nano: Kubectl) -> None:
    canary = {"strategy": "Canary", "steps": [50], "interval": "10s"}
    change(nano, rollout=canary, control={"trace": "none"})
    eventually(lambda: settled(nano, "Watching"), COME_UP)
    eventually(lambda: settled(nano, "Promoting"), COME_UP)
    # Judged by what its own frontends counted, through the NetworkPolicy that guards them.
    reason = (nano.get("cmodel", "nano") or {})["status"]["rollout"]["reason"]
    assert reason.startswith("0 of ")
    eventually(lambda: settled(nano, "Complete"), COME_UP)
    eventually(lambda: len(pods(nano)) == 1, GONE)


@pytest.mark.usefixtures("served")
def test_a_canary_that_is_rolled_back_loses_no_request(nano: Kubectl) -> None:
    old = pods(nano)
    change(nano, rollout={"maxLatencyP99": "1ms"}, control={"trace": "full"})
    eventually(lambda: settled(nano, "RolledBack"), COME_UP)
    eventually(lambda: pods(nano) == old, GONE)
    model = nano.get("cmodel", "nano") or {}
    assert "more than maxLatencyP99 1ms allows" in model["status"]["rollout"]["reason"]
    change(nano, control={"trace": "none"})
    eventually(lambda: settled(nano, "Complete"), 10)


@pytest.mark.usefixtures("served")
def test_scaling_up_and_down_loses_no_request(nano: Kubectl) -> None:
    nano("scale", "cmodel/nano", "--replicas=2")
    eventually(lambda: len(pods(nano)) == 2, 10)
    nano("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=90s")
    nano("scale", "cmodel/nano", "--replicas=1")
    eventually(lambda: len(pods(nano)) == 1, GONE)
