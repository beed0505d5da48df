"""Pods with claims start on the local cluster, with GPUs that are only told of."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import ROOT, Kubectl, OperatorProcess, eventually

from dev.gpus.plugin import CDI, KUBELET
from dev.gpus.topologies import BRIDGE, DRIVER, TOPOLOGIES, gpu_uuid, index_of, linked

pytestmark = pytest.mark.cluster

Manifest = dict[str, Any]
NODE = "node-0"
SLICE = f"{NODE}-{DRIVER}"
SOON, LATER = 30.0, 60.0


class Driver:
    """The driver's process, which may go and come again."""

    def __init__(self, cluster: Kubectl, topology: str, log: Path) -> None:
        self._cluster, self._topology, self._log = cluster, topology, log

    def start(self) -> None:
        with self._log.open("wb") as output:
            command = [sys.executable, "-m", "dev.gpus", "run", f"--topology={self._topology}"]
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=os.environ)
        eventually(lambda: self._has_ended() or self._cluster.get("resourceslice", SLICE), SOON)
        assert not self._has_ended(), self._log.read_text()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _has_ended(self) -> bool:
        return self._process.poll() is not None


@contextmanager
def running_driver(cluster: Kubectl, topology: str, log: Path) -> Iterator[Driver]:
    driver = Driver(cluster, topology, log)
    try:
        driver.start()
        yield driver
        # kubelet can't end a pod with a claim once the driver is gone
        eventually(lambda: not prepared(), SOON)
    finally:
        driver.stop()


@pytest.fixture
def gpus(cluster: Kubectl, tmp_path: Path) -> Iterator[Callable[[str], Driver]]:
    """Give the node the GPUs of a topology. Ask for it before `kubectl`, whose pods have to end first."""
    if not (KUBELET / "plugins_registry").is_dir():
        pytest.skip("needs the local cluster's own kubelet: python -m dev.cluster run -- pytest -m cluster")
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(running_driver(cluster, name, tmp_path / "driver.log"))
    assert cluster.get("resourceslice", SLICE) is None


def prepared() -> list[Path]:
    """What the container runtime is told, a file for each claim."""
    return list(CDI.glob("*.json"))


def claim_template(kubectl: Kubectl, name: str, count: int, attribute: str = "") -> None:
    asked = {"deviceClassName": DRIVER, "allocationMode": "ExactCount", "count": count}
    devices: Manifest = {"requests": [{"name": "gpus", "exactly": asked}]}
    if attribute:
        devices["constraints"] = [{"requests": ["gpus"], "matchAttribute": attribute}]
    write(kubectl, "ResourceClaimTemplate", name, {"spec": {"devices": devices}})


def claim_of(kubectl: Kubectl, name: str, gpus: list[int]) -> None:
    """A claim on just these GPUs of the node."""
    requests = []
    for index in gpus:
        cel = f"device.attributes['{DRIVER}'].uuid == '{gpu_uuid(NODE, index)}'"
        asked = {"deviceClassName": DRIVER, "selectors": [{"cel": {"expression": cel}}]}
        requests.append({"name": f"gpu-{index}", "exactly": asked})
    write(kubectl, "ResourceClaim", name, {"devices": {"requests": requests}})


def write(kubectl: Kubectl, kind: str, name: str, spec: Manifest) -> None:
    kubectl.apply(
        {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    )


def pod(kubectl: Kubectl, name: str, **source: str) -> None:
    """A pod that tells its environment."""
    container = {
        "name": "main",
        "image": "localhost/busybox:1",
        "command": ["sh", "-c", "env; exec sleep 1000"],
        "resources": {"claims": [{"name": "gpus"}]},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "resourceClaims": [{"name": "gpus"} | source],
    }
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def phase(kubectl: Kubectl, name: str) -> str:
    return str((kubectl.get("pod", name) or {}).get("status", {}).get("phase"))


def unschedulable(kubectl: Kubectl, name: str) -> str:
    """Why the scheduler finds no place for a pod."""
    conditions = (kubectl.get("pod", name) or {}).get("status", {}).get("conditions", [])
    return next((c["message"] for c in conditions if c.get("reason") == "Unschedulable"), "")


def allocated(kubectl: Kubectl) -> list[list[int]]:
    """GPUs of each claim, by number."""
    found = [claim.get("status", {}).get("allocation") for claim in kubectl.list("resourceclaims")]
    return sorted(
        sorted(index_of(result["device"]) for result in allocation["devices"]["results"])
        for allocation in found
        if allocation
    )


def test_a_pod_starts_with_two_gpus_of_one_pair(gpus: Callable[[str], Driver], kubectl: Kubectl) -> None:
    gpus("bridge-pairs")
    claim_of(kubectl, "first", [0])  # so that the next two are no pair
    pod(kubectl, "first", resourceClaimName="first")
    eventually(lambda: phase(kubectl, "first") == "Running", SOON)
    claim_template(kubectl, "pair", 2, BRIDGE)
    pod(kubectl, "pair", resourceClaimTemplateName="pair")
    eventually(lambda: phase(kubectl, "pair") == "Running", SOON)

    pair = next(found for found in allocated(kubectl) if len(found) == 2)
    assert linked(TOPOLOGIES["bridge-pairs"], pair)
    seen = {line for line in kubectl("logs", "pair").splitlines() if line.startswith("GPU_DEVICE_")}
    assert seen == {f"GPU_DEVICE_{index}={gpu_uuid(NODE, index)}" for index in pair}

    kubectl("delete", "pod", "pair")
    eventually(lambda: allocated(kubectl) == [[0]], SOON)
    eventually(lambda: len(prepared()) == 1, SOON)


def test_a_pair_waits_while_only_single_gpus_are_free(
    gpus: Callable[[str], Driver], kubectl: Kubectl
) -> None:
    gpus("bridge-pairs")
    claim_of(kubectl, "halves", [0, 2, 4, 6])
    pod(kubectl, "halves", resourceClaimName="halves")
    eventually(lambda: phase(kubectl, "halves") == "Running", SOON)
    claim_template(kubectl, "pair", 2, BRIDGE)
    pod(kubectl, "pair", resourceClaimTemplateName="pair")
    eventually(lambda: "cannot allocate all claims" in unschedulable(kubectl, "pair"), SOON)
    assert phase(kubectl, "pair") == "Pending"

    claim_template(kubectl, "any", 2)
    pod(kubectl, "any", resourceClaimTemplateName="any")
    eventually(lambda: phase(kubectl, "any") == "Running", SOON)  # who doesn't mind gets two halves

    kubectl("delete", "pod/halves", "resourceclaim/halves")
    eventually(lambda: phase(kubectl, "pair") == "Running", SOON)


def test_what_is_no_partition_does_not_start_and_the_pod_says_why(
    gpus: Callable[[str], Driver], kubectl: Kubectl
) -> None:
    gpus("partitions")
    claim_of(kubectl, "across", [1, 2])
    pod(kubectl, "across", resourceClaimName="across")

    def events() -> str:
        return kubectl("get", "events", "--output=jsonpath={.items[*].message}")

    eventually(lambda: "gpu-1, gpu-2 are no partition of Fabric Manager" in events(), SOON)
    assert phase(kubectl, "across") == "Pending"


# --- models -------------------------------------------------------------------------------------------------


def model(**spec: object) -> Manifest:
    """A model that is ready once its pods run; its engine only tells its environment."""
    gone = {"$patch": "delete"}
    sleep = ["sh", "-c", "env; trap 'exit 0' TERM; sleep 100000 & wait"]
    probes = {"triton": ["livenessProbe"], "frontend": ["startupProbe", "livenessProbe", "readinessProbe"]}
    pods = {
        "terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "fetch", "command": ["true"]}],
        "containers": [
            {"name": name, "command": sleep} | dict.fromkeys([*fields, "lifecycle"], gone)
            for name, fields in probes.items()
        ],
    }
    own = {
        "model": {"uri": "image:///models/nano"},
        "serving": {"image": "localhost/busybox:1"},
        "gpu": {"count": 2, "nvlink": "required"},
        "podTemplate": {"spec": pods},
    }
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "pair"},
        "spec": own | spec,
    }


def test_a_model_starts_with_two_gpus_of_one_group_and_its_status_shows_them(
    gpus: Callable[[str], Driver], operator: OperatorProcess, kubectl: Kubectl
) -> None:
    gpus("partitions")
    kubectl.apply(model(replicas=2))
    eventually(lambda: condition(kubectl, "Ready")[:2] == ("True", "Serving"), LATER)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    pairs = allocated(kubectl)
    assert [linked(TOPOLOGIES["partitions"], pair) for pair in pairs] == [True, True]
    shown = status(kubectl)
    for pair in pairs:
        assert f"{', '.join(f'gpu-{index}' for index in pair)} of {NODE}" in shown
    assert "gpusPerReplica 2, level NVLinkPartition, mechanism DRA" in shown
    assert "NVLink connects the GPUs of all 2 replicas" in shown
    seen = {frozenset(visible(kubectl, name)) for name in running(kubectl)}
    assert seen == {frozenset(gpu_uuid(NODE, index) for index in pair) for pair in pairs}


def test_a_model_runs_on_while_its_driver_is_away(
    gpus: Callable[[str], Driver], operator: OperatorProcess, kubectl: Kubectl
) -> None:
    driver = gpus("partitions")
    kubectl.apply(model())
    eventually(lambda: condition(kubectl, "Ready")[:2] == ("True", "Serving"), LATER)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    before = running(kubectl)

    driver.stop()
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("Unknown", "Unknown"), SOON)
    _, _, message = condition(kubectl, "TopologySatisfied")
    assert "nothing tells of the GPUs of 1 of 1 replicas (pair-" in message
    assert "as its pods were made; planned anew, it would be: no node has GPUs yet" in message
    assert "nothing tells of the GPUs" in status(kubectl)
    assert condition(kubectl, "Ready")[:2] == ("True", "Serving")

    kubectl.patch("cmodel", "pair", {"spec": {"replicas": 2}})
    eventually(lambda: condition(kubectl, "Ready")[1] == "InsufficientCapacity", SOON)
    _, _, message = condition(kubectl, "Ready")
    assert (
        "each replica asks for 2 GPUs that NVLink connects on one node, and the cluster has no GPUs"
        in message
    )
    assert before.items() <= running(kubectl).items()

    driver.start()
    eventually(lambda: condition(kubectl, "Ready")[:2] == ("True", "Serving"), LATER)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    assert before.items() <= running(kubectl).items()


def condition(kubectl: Kubectl, kind: str) -> tuple[str, str, str]:
    status = (kubectl.get("cmodel", "pair") or {}).get("status", {})
    found: Manifest = next((c for c in status.get("conditions", []) if c["type"] == kind), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def status(kubectl: Kubectl) -> str:
    """What `kubectl controllable status` shows."""
    command = [sys.executable, "-m", "controllable_operator.plugin", "status", "pair"]
    done = subprocess.run(
        [*command, f"--namespace={kubectl.namespace}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def running(kubectl: Kubectl) -> dict[str, str]:
    """Pods of the model that run, and since when."""
    return {
        item["metadata"]["name"]: item["status"]["startTime"]
        for item in kubectl.list("pods", "app.kubernetes.io/instance=pair")
        if item["status"].get("phase") == "Running"
    }


def visible(kubectl: Kubectl, name: str) -> set[str]:
    """GPUs that the engine of a pod sees."""
    lines = kubectl("logs", name, "--container=triton").splitlines()
    return {line.partition("=")[2] for line in lines if line.startswith("GPU_DEVICE_")}
