"""GPUs by the real scheduler, on boards that are only told of: nodes and ResourceSlices without machines.

Pods there are scheduled, and get their devices, but nobody starts them.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster_fixtures import PAUSE, Kubectl, OperatorProcess, eventually
from gpu_objects import gpu_node, resource_slice

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

SOON = 15.0
ANYWHERE = {"spec": {"tolerations": [{"operator": "Exists"}]}}
Board = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True, scope="module")
def device_class(cluster: Kubectl) -> Iterator[None]:
    cel = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
    manifest = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "gpu.nvidia.com"},
        "spec": {"selectors": [{"cel": {"expression": cel}}]},
    }
    cluster.apply(manifest)
    yield
    cluster("delete", "deviceclass", "gpu.nvidia.com")


@pytest.fixture
def board(cluster: Kubectl) -> Iterator[Board]:
    """Tell of a node, and of a slice if it is one."""
    name = f"board-{time.time_ns():x}"
    made: list[str] = []

    def tell(manifest: dict[str, Any]) -> None:
        is_slice = "devices" in manifest.get("spec", {})
        node = {"metadata": {}, "status": {"allocatable": {}}} if is_slice else manifest
        labels = node["metadata"].get("labels", {}) | {"kubernetes.io/hostname": name}
        cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
        room = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}
        room |= node["status"]["allocatable"]
        patch = {"status": {"capacity": room, "allocatable": room}}
        cluster("patch", "node", name, "--subresource=status", f"--patch={json.dumps(patch)}")
        made.append(f"node/{name}")
        if is_slice:
            spec = manifest["spec"] | {"nodeName": name, "pool": manifest["spec"]["pool"] | {"name": name}}
            meta = {"name": f"{name}-gpu"}
            kind = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"}
            cluster.apply(kind | {"metadata": meta, "spec": spec})
            made.append(f"resourceslice/{name}-gpu")

    yield tell
    for item in made:
        cluster("delete", item, "--wait=false")


def pair(**more: Any) -> dict[str, Any]:
    spec = {"model": {"uri": "image:///models/nano"}, "serving": {"image": PAUSE}, "podTemplate": ANYWHERE}
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "pair"},
        "spec": spec | more,
    }


def condition(kubectl: Kubectl, kind: str) -> tuple[str, str, str]:
    status = (kubectl.get("cmodel", "pair") or {}).get("status", {})
    found = next((c for c in status.get("conditions", []) if c["type"] == kind), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def placement(kubectl: Kubectl) -> dict[str, str]:
    return (kubectl.get("cmodel", "pair") or {}).get("status", {}).get("placement", {})


def devices(kubectl: Kubectl) -> list[list[str]]:
    """Devices of each claim that is allocated."""
    claims = kubectl.list("resourceclaims", "app.kubernetes.io/instance=pair")
    allocations = [claim.get("status", {}).get("allocation") for claim in claims]
    return sorted(
        sorted(result["device"] for result in found["devices"]["results"]) for found in allocations if found
    )


def test_required_waits_for_nvlink_and_then_gets_it(
    kubectl: Kubectl, board: Board, operator: OperatorProcess
) -> None:
    asked = {"product": "H100-80GB-HBM3", "memory": "80Gi", "architecture": "Hopper"}
    kubectl.apply(pair(gpu={"count": 2, "nvlink": "required"} | asked, replicas=2))
    eventually(lambda: condition(kubectl, "TopologySatisfied")[1] == "MechanismUnavailable", SOON)
    assert condition(kubectl, "Ready")[:2] == ("False", "InsufficientCapacity")
    assert kubectl.get("deployment", "pair") is None

    board(resource_slice(gpus=4, partition2=2))
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"], ["gpu-2", "gpu-3"]], SOON)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    assert "all 2 replicas" in condition(kubectl, "TopologySatisfied")[2]
    assert placement(kubectl)["level"] == "NVLinkPartition"
    written = operator.metric("writes_total", kind="ResourceClaimTemplate", verb="apply")
    assert written == 1, "the API server's form of a claim is taken for drift"


def test_preferred_tells_which_replica_goes_without(kubectl: Kubectl, board: Board) -> None:
    odd = resource_slice(gpus=4, partition2=2)
    for index in (2, 3):  # no pair, but two GPUs all the same
        odd["spec"]["devices"][index]["attributes"]["partition2"] = {"int": 10 + index}
    board(odd)
    asked = {"count": 2, "nvlink": "preferred"}
    kubectl.apply(pair(gpu=asked, replicas=2, suspend=True))  # no pod before the operator knows the board
    eventually(lambda: placement(kubectl).get("level") == "NVLinkPartition", SOON)
    kubectl.apply(pair(gpu=asked, replicas=2))
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"], ["gpu-2", "gpu-3"]], SOON)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("False", "Fallback"), SOON)
    assert condition(kubectl, "TopologySatisfied")[2].startswith("1 of 2 replicas are without NVLink (pair-")


def test_a_group_too_small_is_told_before_there_is_a_pod(kubectl: Kubectl, board: Board) -> None:
    board(resource_slice(partition2=2))
    kubectl.apply(pair(gpu={"count": 4, "nvlink": "required"}))
    eventually(lambda: condition(kubectl, "TopologySatisfied")[1] == "CliqueTooSmall", SOON)
    assert not kubectl.list("pods")


def test_whole_boards_by_labels_are_chosen_by_the_scheduler(kubectl: Kubectl, board: Board) -> None:
    node = gpu_node(gpus=8)
    board(node)
    kubectl.apply(pair(gpu={"count": 8, "nvlink": "required"}))
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    (pod,) = kubectl.list("pods")
    assert pod["spec"]["nodeName"].startswith("board-")


def test_another_ask_is_another_template_and_the_old_one_goes(kubectl: Kubectl, board: Board) -> None:
    board(resource_slice(partition2=2, partition4=4))
    kubectl.apply(pair(gpu={"count": 2, "nvlink": "required"}))
    eventually(lambda: devices(kubectl), SOON)
    before = {item["metadata"]["name"] for item in kubectl.list("resourceclaimtemplates")}
    kubectl.apply(pair(gpu={"count": 4, "nvlink": "required"}))
    eventually(lambda: any(len(found) == 4 for found in devices(kubectl)), SOON)
    after = {item["metadata"]["name"] for item in kubectl.list("resourceclaimtemplates")}
    assert before.isdisjoint(after)
    assert len(after) == 1
