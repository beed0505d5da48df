"""GPUs by the real scheduler, on boards that are only told of: what is asked for, and what is had."""

from typing import Any

import pytest
from cluster_fixtures import Kubectl, OperatorProcess, eventually
from controllable_operator.plugin import gpu_map
from controllable_operator.plugin.connection import Connection
from gpu_boards import Boards, condition, devices, model, placement, start
from gpu_objects import gpu_node, resource_slice

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

SOON = 15.0


def test_required_waits_for_nvlink_and_then_gets_it(
    kubectl: Kubectl, boards: Boards, operator: OperatorProcess
) -> None:
    asked = {"product": "H100-80GB-HBM3", "memory": "80Gi", "architecture": "Hopper"}
    boards.tell("other", labels=BARE)
    boards.settle()
    kubectl.apply(model(gpu={"count": 2, "nvlink": "required"} | asked, replicas=2))
    eventually(lambda: condition(kubectl, "TopologySatisfied")[1] == "MechanismUnavailable", SOON)
    assert condition(kubectl, "Ready")[:2] == ("False", "InsufficientCapacity")
    assert kubectl.get("deployment", "pair") is None

    boards.tell(devices=resource_slice(gpus=4, partition2=2))
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"], ["gpu-2", "gpu-3"]], SOON)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    assert "all 2 replicas" in condition(kubectl, "TopologySatisfied")[2]
    assert placement(kubectl)["level"] == "NVLinkPartition"
    written = operator.metric("writes_total", kind="ResourceClaimTemplate", verb="apply")
    assert written == 1, "the API server's form of a claim is taken for drift"


def test_boards_of_two_kinds_serve_one_model(kubectl: Kubectl, boards: Boards) -> None:
    boards.tell("partitioned", devices=resource_slice(gpus=2, partition2=2))
    boards.tell("whole", devices=resource_slice(gpus=2, product="NVIDIA A100-SXM4-80GB"))
    asked = {"count": 2, "nvlink": "required"}
    kubectl.apply(model(gpu=asked, replicas=2, suspend=True))  # no pod before the operator knows both
    eventually(lambda: "; or " in placement(kubectl).get("reason", ""), SOON)
    kubectl.apply(model(gpu=asked, replicas=2))
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"], ["gpu-0", "gpu-1"]], SOON)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    shown = gpu_map.read(Connection.open())  # what `kubectl controllable gpus` shows
    (row,) = (row for row in shown["models"] if row["namespace"] == kubectl.namespace)
    assert [(replica["gpus"], replica["linked"]) for replica in row["replicas"]] == [
        (["gpu-0", "gpu-1"], True),
        (["gpu-0", "gpu-1"], True),
    ]


def test_preferred_tells_which_replica_goes_without(kubectl: Kubectl, boards: Boards) -> None:
    """The half pair of the partitioned board stays free: kubelet's driver would refuse to prepare it."""
    odd = resource_slice(gpus=4, partition2=2)
    for index in (2, 3):
        odd["spec"]["devices"][index]["attributes"]["partition2"] = {"int": 10 + index}
    boards.tell("partitioned", devices=odd)
    asked = {"count": 2, "nvlink": "preferred"}
    start(kubectl, "NVLinkPartition", gpu=asked, replicas=2)
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"]], SOON)
    eventually(lambda: condition(kubectl, "Ready")[1] == "InsufficientCapacity", SOON)

    boards.tell("whole", devices=resource_slice(gpus=2, product="NVIDIA L40S"))
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"]] * 2, SOON)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("False", "Fallback"), SOON)
    assert condition(kubectl, "TopologySatisfied")[2].startswith("1 of 2 replicas are without NVLink (pair-")


def test_whole_boards_by_labels_are_chosen_by_the_scheduler(kubectl: Kubectl, boards: Boards) -> None:
    boards.tell(labels=gpu_node(gpus=8))
    start(kubectl, "NVSwitchNode", gpu={"count": 8, "nvlink": "required"})
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    (pod,) = kubectl.list("pods")
    assert pod["spec"]["nodeName"].startswith("board-")


def test_another_ask_is_another_template_and_the_old_one_goes(kubectl: Kubectl, boards: Boards) -> None:
    boards.tell(devices=resource_slice(partition2=2, partition4=4))
    start(kubectl, "NVLinkPartition", gpu={"count": 2, "nvlink": "required"})
    eventually(lambda: devices(kubectl), SOON)
    before = {item["metadata"]["name"] for item in kubectl.list("resourceclaimtemplates")}
    kubectl.apply(model(gpu={"count": 4, "nvlink": "required"}))
    eventually(lambda: any(len(found) == 4 for found in devices(kubectl)), SOON)
    after = {item["metadata"]["name"] for item in kubectl.list("resourceclaimtemplates")}
    assert before.isdisjoint(after)
    assert len(after) == 1


PARTITIONS = resource_slice(partition2=2)
SWITCHED = resource_slice()
NEAR = resource_slice(product="NVIDIA L40S", pcieRoot=2)
LABELLED, BARE = gpu_node(), gpu_node(product="")


def test_as_one_thing_after_the_other_goes_the_plan_moves_down_the_table(
    kubectl: Kubectl, boards: Boards
) -> None:
    """Without pods, which would hold on to the plan that they were made by."""
    for nvlink in ("required", "preferred"):
        kubectl.apply(model(nvlink, gpu={"count": 2, "nvlink": nvlink}, suspend=True))

    def so(nvlink: str, mechanism: str, level: str, reason: str, message: str = "") -> bool:
        plan, told = placement(kubectl, nvlink), condition(kubectl, "TopologySatisfied", nvlink)
        found = plan.get("mechanism"), plan.get("level"), told[1]
        assert found == (mechanism, level, reason)
        assert message in told[2]
        return True

    steps: list[tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = [
        (
            {"devices": PARTITIONS, "labels": LABELLED},
            ("DRA", "NVLinkPartition", "Guaranteed"),
            ("DRA", "NVLinkPartition", "Pending"),
        ),
        (
            {"devices": SWITCHED, "labels": LABELLED},
            ("DRA", "NVSwitchNode", "Guaranteed"),
            ("DRA", "NVSwitchNode", "Pending"),
        ),
        (
            {"labels": LABELLED},
            ("DevicePlugin", "NVSwitchNode", "Guaranteed"),
            ("DevicePlugin", "NVSwitchNode", "Pending"),
        ),
        (
            {"devices": NEAR, "labels": BARE},
            (
                "DevicePlugin",
                "Node",
                "MechanismUnavailable",
                "2 GPUs that NVLink connects are asked for, and 0",
            ),
            ("DRA", "PCIeRoot", "Fallback"),
        ),
        (
            {"labels": BARE},
            ("DevicePlugin", "Node", "MechanismUnavailable", "install GPU Feature Discovery"),
            ("DevicePlugin", "Node", "Fallback"),
        ),
        (
            {},
            ("DevicePlugin", "NVSwitchNode", "Guaranteed", "no node has GPUs yet"),
            (
                "DevicePlugin",
                "Node",
                "Fallback",
                "2 GPUs on one node are asked for, and no node has more than 0",
            ),
        ),
    ]
    for board, required, preferred in steps:
        boards.tell(**board)
        eventually(lambda: so("required", *required), SOON)  # noqa: B023
        eventually(lambda: so("preferred", *preferred), SOON)  # noqa: B023
    assert not kubectl.list("pods")
