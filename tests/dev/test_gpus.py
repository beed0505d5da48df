"""GPUs that are only told of: what the cluster gets to know of them, and the driver that prepares them."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from controllable_operator.placement import Placement, inventory, plan
from controllable_operator.placement.ask import Ask
from google.protobuf import message_factory

from dev.gpus import protos
from dev.gpus.driver import Driver
from dev.gpus.topologies import (
    BRIDGE,
    CLIQUE,
    DEVICE_CLASS,
    NUMA_NODE,
    PCIE_ROOT,
    RESOURCE,
    TOPOLOGIES,
    labels,
    linked,
    resource_slice,
)

Manifest = dict[str, Any]
PAIRS, PARTITIONS = TOPOLOGIES["bridge-pairs"], TOPOLOGIES["partitions"]

# --- topologies ---------------------------------------------------------------------------------------------


def planned(name: str, count: int, nvlink: str = "required") -> Placement:
    """What the operator makes of a cluster that has one such node, by DRA."""
    slices = [resource_slice(TOPOLOGIES[name], "node-1")]
    return plan(Ask(count, nvlink), inventory([], slices, [DEVICE_CLASS], BRIDGE), BRIDGE)


@pytest.mark.parametrize(
    ("name", "count", "level", "attribute"),
    [
        ("hgx-a100", 8, "NVSwitchNode", ""),
        ("hgx-h100", 3, "NVSwitchNode", ""),
        ("partitions", 2, "NVLinkPartition", "gpu.nvidia.com/partition2"),
        ("partitions", 8, "NVLinkPartition", "gpu.nvidia.com/partition8"),
        ("bridge-pairs", 2, "NVLinkPartition", BRIDGE),
        ("nvl72", 4, "NVSwitchNode", ""),
    ],
)
def test_the_planner_finds_the_nvlink_of_each_topology(
    name: str, count: int, level: str, attribute: str
) -> None:
    placement = planned(name, count)
    assert (placement.obstacle, placement.level, placement.attribute) == (None, level, attribute)


@pytest.mark.parametrize(("name", "count"), [("pcie", 2), ("bridge-pairs", 4), ("hgx-a100", 16)])
def test_the_planner_finds_none_where_there_is_none(name: str, count: int) -> None:
    assert planned(name, count).obstacle


def test_gpus_at_a_pcie_root_are_near_each_other_and_not_linked() -> None:
    assert planned("pcie", 2, "preferred").attribute == PCIE_ROOT
    assert planned("pcie", 4, "preferred").attribute == NUMA_NODE
    assert not linked(TOPOLOGIES["pcie"], [0, 1])


def test_labels_tell_the_planner_the_same_nodes() -> None:
    told = [labels(TOPOLOGIES["nvl72"], number) for number in range(20)]
    nodes = [
        {
            "metadata": {"name": f"node-{number}", "labels": of_node},
            "status": {"allocatable": {RESOURCE: "4"}},
        }
        for number, of_node in enumerate(told)
    ]
    (found,) = inventory(nodes).nodes
    assert (found.type.product, found.type.memory) == ("NVIDIA-GB200", 189471 * 2**20)
    assert (found.total, found.switched, found.clique) == (80, True, 72)
    assert len({of_node[CLIQUE] for of_node in told}) == 2


def test_who_is_linked_to_whom() -> None:
    assert linked(TOPOLOGIES["hgx-h100"], [0, 5, 7])
    assert linked(PAIRS, [2, 3])
    assert not linked(PAIRS, [1, 2])
    assert linked(PARTITIONS, [4, 5, 6, 7])
    assert not linked(PARTITIONS, [4, 5, 6]), "a part of a partition"
    assert not linked(PARTITIONS, [2, 3, 4, 5]), "as large as a partition, and none"
    assert all(linked(topology, [3]) for topology in TOPOLOGIES.values())


def test_a_bridge_is_closer_than_a_pcie_root() -> None:
    """Or else a plan by the root would do as well, and a test of the bridge would test nothing."""
    devices = resource_slice(PAIRS, "node-1")["spec"]["devices"]
    by_root: dict[str, set[int]] = {}
    for device in devices:
        root = device["attributes"][PCIE_ROOT]["string"]
        by_root.setdefault(root, set()).add(device["attributes"][BRIDGE]["int"])
    assert all(len(bridges) == 2 for bridges in by_root.values())


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_each_gpu_can_be_told_from_every_other(name: str) -> None:
    devices = [
        device
        for node in ("node-1", "node-2")
        for device in resource_slice(TOPOLOGIES[name], node)["spec"]["devices"]
    ]
    assert len({device["attributes"]["uuid"]["string"] for device in devices}) == len(devices)
    buses = {device["attributes"]["resource.kubernetes.io/pciBusID"]["string"] for device in devices}
    assert len(buses) == TOPOLOGIES[name].gpus


# --- the driver ---------------------------------------------------------------------------------------------

ASKED = {"namespace": "test", "name": "pod-gpus", "uid": "uid-1"}


def claim(*devices: str, uid: str = "uid-1", driver: str = "gpu.nvidia.com") -> Manifest:
    results = [
        {"request": "gpus/linked", "driver": driver, "pool": "node-0", "device": device} for device in devices
    ]
    return {
        "metadata": {"name": "pod-gpus", "uid": uid},
        "status": {"allocation": {"devices": {"results": results}}},
    }


def driver(folder: Path, found: Manifest, name: str = "bridge-pairs") -> Driver:
    return Driver(TOPOLOGIES[name], lambda *_: found, folder)


def test_a_claims_devices_reach_the_container_by_cdi(tmp_path: Path) -> None:
    answer = driver(tmp_path, claim("gpu-2", "gpu-3")).prepare({"claims": [ASKED]})
    devices = answer["claims"]["uid-1"]["devices"]
    assert [(device["poolName"], device["deviceName"]) for device in devices] == [
        ("node-0", "gpu-2"),
        ("node-0", "gpu-3"),
    ]
    assert devices[0]["requestNames"] == ["gpus"], "not the alternative that was chosen"
    (file,) = tmp_path.glob("*.json")
    spec = json.loads(file.read_text())
    ids = [f"{spec['kind']}={device['name']}" for device in spec["devices"]]
    assert ids == [device["cdiDeviceIds"][0] for device in devices]
    variables = [device["containerEdits"]["env"][0] for device in spec["devices"]]
    assert [variable.partition("=")[0] for variable in variables] == ["GPU_DEVICE_2", "GPU_DEVICE_3"]


def test_preparing_and_unpreparing_may_be_repeated(tmp_path: Path) -> None:
    plugin = driver(tmp_path, claim("gpu-2"))
    assert plugin.prepare({"claims": [ASKED]}) == plugin.prepare({"claims": [ASKED]})
    for _ in range(2):
        assert plugin.unprepare({"claims": [ASKED]}) == {"claims": {"uid-1": {}}}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        ("bridge-pairs", claim("gpu-2", uid="uid-2"), "replaced"),
        ("bridge-pairs", {"metadata": {"name": "pod-gpus", "uid": "uid-1"}}, "no devices allocated"),
        ("partitions", claim("gpu-1", "gpu-2"), "gpu-1, gpu-2 are no partition"),
    ],
)
def test_what_cannot_be_prepared_is_told(tmp_path: Path, name: str, found: Manifest, said: str) -> None:
    answer = driver(tmp_path, found, name).prepare({"claims": [ASKED]})
    assert said in answer["claims"]["uid-1"]["error"]
    assert not list(tmp_path.iterdir())


def test_devices_of_other_drivers_are_left_to_them(tmp_path: Path) -> None:
    answer = driver(tmp_path, claim("nic-1", driver="nic.example.com")).prepare({"claims": [ASKED]})
    assert answer["claims"]["uid-1"] == {"devices": []}


# --- kubelet's protocol -------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("go"), reason="needs Go, for the protocol's definitions")
def test_kubelets_protocol_is_spoken(tmp_path: Path) -> None:
    """With its own definitions on both sides of a socket."""
    plugin = driver(tmp_path / "cdi", claim("gpu-2"))
    server = grpc.server(
        ThreadPoolExecutor(1),
        handlers=[protos.handlers(protos.DRA, {"NodePrepareResources": plugin.prepare})],
    )
    server.add_insecure_port(f"unix:{tmp_path}/dra.sock")
    server.start()
    method = protos.described(protos.DRA, "NodePrepareResources")
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    with grpc.insecure_channel(f"unix:{tmp_path}/dra.sock") as channel:
        call = channel.unary_unary(
            f"/{protos.DRA}/NodePrepareResources",
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )
        said = call(request(claims=[ASKED]), timeout=10)
    server.stop(0)
    (device,) = said.claims["uid-1"].devices
    assert list(device.cdi_device_ids) == ["k8s.gpu.nvidia.com/claim=uid-1-gpu-2"]
