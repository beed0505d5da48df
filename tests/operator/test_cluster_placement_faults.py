"""GPUs that can't be had, or are gone: a condition tells what is asked for and what is there; pods run on."""

from typing import Any

import pytest
from cluster_fixtures import Kubectl, eventually
from gpu_boards import ANYWHERE, Boards, condition, devices, model, placement, pods, serves, start
from gpu_objects import gpu_node, resource_slice

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

SOON = 15.0
# The controller that makes claims tries again ever more rarely.
LATER = 60.0

PAIR = {"count": 2, "nvlink": "required"}
DEVICES = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"


def quota(kubectl: Kubectl, **hard: str) -> None:
    """A ResourceQuota, from when the API server goes by it."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "team"},
            "spec": {"hard": hard},
        }
    )
    eventually(
        lambda: (kubectl.get("resourcequota", "team") or {}).get("status", {}).get("hard") == hard, SOON
    )


def told(kubectl: Kubectl, *parts: str, name: str = "pair") -> bool:
    """Whether Ready is False for want of capacity, with all this in its message."""
    status, reason, message = condition(kubectl, "Ready", name)
    assert (status, reason) == ("False", "InsufficientCapacity")
    assert [part for part in parts if part not in message] == [], message
    return True


# --- nobody has them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "asked", "reason", "parts"),
    [
        (
            resource_slice(),
            PAIR | {"product": "B200"},
            "MechanismUnavailable",
            (
                "2 GPUs that are B200 are asked for, and 0 are there",
                "there: 8 x NVIDIA H100",
                "change spec.gpu",
            ),
        ),
        (
            resource_slice(),
            PAIR | {"count": 16},
            "CliqueTooSmall",
            ("16 GPUs that NVLink connects", "the largest group that it connects has 8", "ask for fewer"),
        ),
        (
            resource_slice(partition2=2),
            PAIR | {"count": 4},
            "CliqueTooSmall",
            ("4 GPUs that NVLink connects", "the largest group that it connects has 2", "ask for fewer"),
        ),
    ],
)
def test_what_nobody_has_is_told_before_there_is_a_pod(
    kubectl: Kubectl,
    boards: Boards,
    board: dict[str, Any],
    asked: dict[str, Any],
    reason: str,
    parts: tuple[str, ...],
) -> None:
    boards.tell(devices=board)
    boards.settle()
    kubectl.apply(model(gpu=asked))
    eventually(lambda: condition(kubectl, "TopologySatisfied")[1] == reason, SOON)
    eventually(lambda: told(kubectl, *parts), SOON)
    assert condition(kubectl, "Stalled")[0] == "True"
    assert not kubectl.list("pods,deployments")


# --- others have them ---------------------------------------------------------------------------------------


def test_of_two_that_want_the_last_pair_one_gets_it_and_the_other_says_what_is_there(
    kubectl: Kubectl, boards: Boards
) -> None:
    boards.tell(devices=resource_slice(gpus=2, partition2=2))
    names = {"first", "second"}
    for name in names:
        start(kubectl, "NVLinkPartition", name, gpu=PAIR)
    eventually(lambda: any(devices(kubectl, name) for name in names), SOON)
    (winner,) = (name for name in names if devices(kubectl, name))
    (other,) = names - {winner}
    eventually(lambda: condition(kubectl, "TopologySatisfied", winner)[1] == "Satisfied", SOON)
    balance = (
        "each replica asks for 2 GPUs that NVLink connects on one node, and the cluster has 2 x NVIDIA H100"
    )
    eventually(
        lambda: told(kubectl, balance, "cannot allocate all claims", "ask for fewer", name=other), SOON
    )
    assert devices(kubectl, other) == []

    kubectl("delete", "cmodel", winner)
    kubectl(
        "delete", "pods", f"--selector=app.kubernetes.io/instance={winner}", "--force", "--grace-period=0"
    )
    eventually(lambda: devices(kubectl, other) == [["gpu-0", "gpu-1"]], SOON)


# --- they are gone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [1, 0], ids=["one GPU is broken", "the driver is gone"])
def test_when_gpus_vanish_the_pods_that_have_them_run_on_and_the_model_says_so(
    kubectl: Kubectl, boards: Boards, left: int
) -> None:
    boards.tell(devices=resource_slice(gpus=2, partition2=2))
    start(kubectl, "NVLinkPartition", gpu=PAIR)
    eventually(lambda: devices(kubectl) == [["gpu-0", "gpu-1"]], SOON)
    eventually(lambda: serves(kubectl), SOON)
    before = pods(kubectl)

    boards.tell(devices=resource_slice(gpus=left, partition2=2) if left else None)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("Unknown", "Unknown"), SOON)
    _, _, message = condition(kubectl, "TopologySatisfied")
    assert message.startswith("nothing tells of the GPUs of 1 of 1 replicas (pair-")
    assert "as its pods were made; planned anew, it would be: " in message
    assert ("has 1; ask for fewer" if left else "no node has GPUs yet") in message
    assert placement(kubectl)["level"] == "NVLinkPartition"
    assert pods(kubectl) == before
    assert condition(kubectl, "Ready")[:2] == ("True", "Serving")

    boards.tell(devices=resource_slice(gpus=2, partition2=2))
    eventually(lambda: condition(kubectl, "TopologySatisfied")[:2] == ("True", "Satisfied"), SOON)
    assert pods(kubectl) == before


# --- a quota forbids them -----------------------------------------------------------------------------------


def test_a_quota_on_the_device_plugins_gpus_is_told_with_its_numbers(
    kubectl: Kubectl, boards: Boards
) -> None:
    boards.tell(labels=gpu_node(gpus=8))
    name = "requests.nvidia.com/gpu"
    quota(kubectl, **{name: "4"})
    start(kubectl, "NVSwitchNode", gpu=PAIR, replicas=2)
    eventually(lambda: condition(kubectl, "TopologySatisfied")[1] == "Satisfied", SOON)
    eventually(lambda: serves(kubectl), SOON)
    before = pods(kubectl)

    kubectl.patch("cmodel", "pair", {"spec": {"replicas": 3}})
    numbers = f"exceeded quota: team, requested: {name}=2, used: {name}=4, limited: {name}=4"
    eventually(lambda: told(kubectl, "no pod may be made", numbers, "raise the quota"), SOON)
    assert pods(kubectl) == before


@pytest.mark.parametrize(
    ("name", "asked", "limit"),
    [(DEVICES, 2, 3), ("count/resourceclaims.resource.k8s.io", 1, 1)],
    ids=["devices", "claims"],
)
def test_a_quota_on_claims_is_told_with_its_numbers_and_gives_way_when_it_is_raised(
    kubectl: Kubectl, boards: Boards, name: str, asked: int, limit: int
) -> None:
    boards.tell(devices=resource_slice(partition2=2))
    quota(kubectl, **{name: str(limit)})
    start(kubectl, "NVLinkPartition", gpu=PAIR)
    eventually(lambda: devices(kubectl), SOON)
    eventually(lambda: serves(kubectl), SOON)
    before = pods(kubectl)

    kubectl.patch("cmodel", "pair", {"spec": {"replicas": 2}})
    numbers = (
        f"exceeded quota: team, requested: {name}={asked}, used: {name}={asked}, limited: {name}={limit}"
    )
    eventually(lambda: told(kubectl, "no GPUs may be claimed", numbers, "raise the quota"), SOON)
    assert before < pods(kubectl)
    assert len(devices(kubectl)) == 1

    quota(kubectl, **{name: str(2 * asked)})
    eventually(lambda: len(devices(kubectl)) == 2, LATER)
    eventually(lambda: condition(kubectl, "Ready")[1] == "Progressing", SOON)
    assert before < pods(kubectl)


def test_a_quota_on_what_the_operator_makes_itself_is_no_want_of_rights(
    kubectl: Kubectl, boards: Boards
) -> None:
    boards.tell(devices=resource_slice(partition2=2))
    quota(kubectl, **{"count/resourceclaimtemplates.resource.k8s.io": "0"})
    kubectl.apply(model(gpu=PAIR))
    eventually(lambda: told(kubectl, "ResourceClaimTemplate pair-gpus-", "exceeded quota: team"), SOON)


# --- a queue holds them back --------------------------------------------------------------------------------


def test_pods_carry_the_label_of_a_queue_and_wait_for_its_gate(kubectl: Kubectl, boards: Boards) -> None:
    """Kueue's webhook sets the gate on pods with this label; here it is set from the start."""
    boards.tell(devices=resource_slice(partition2=2))
    queue, gate = {"kueue.x-k8s.io/queue-name": "team-a"}, {"name": "kueue.x-k8s.io/admission"}
    template = {"metadata": {"labels": queue}, "spec": ANYWHERE["spec"] | {"schedulingGates": [gate]}}
    start(kubectl, "NVLinkPartition", gpu=PAIR, podTemplate=template)
    (pod,) = eventually(lambda: kubectl.list("pods", "kueue.x-k8s.io/queue-name=team-a"), SOON)
    eventually(lambda: "waits for its scheduling gates" in condition(kubectl, "Ready")[2], SOON)
    assert condition(kubectl, "Ready")[1] == "Progressing"
    assert devices(kubectl) == []

    name = pod["metadata"]["name"]
    kubectl.patch("pod", name, [{"op": "remove", "path": "/spec/schedulingGates"}], how="json")  # type: ignore[arg-type]
    eventually(lambda: len(devices(kubectl)) == 1, SOON)
