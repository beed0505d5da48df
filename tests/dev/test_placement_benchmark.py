"""The placement benchmark sees what it is there to see: it could say that `required` was broken."""

from typing import Any

import pytest
from controllable_operator.placement.ask import Ask

from benchmarks.placement.replicas import Replica, outcome
from dev.gpus import fleet
from dev.gpus.topologies import TOPOLOGIES

PAIR = Replica("replica-0", Ask(2, "required"))
NODES = [fleet.FleetNode(name, TOPOLOGIES["bridge-pairs"], 0) for name in ("node-1", "node-2")]


def claim(*devices: tuple[str, int], user: str = "replica-0") -> dict[str, Any]:
    results = [
        {"driver": "gpu.nvidia.com", "pool": node, "device": f"gpu-{index}", "request": "gpus"}
        for node, index in devices
    ]
    return {
        "status": {
            "allocation": {"devices": {"results": results}},
            "reservedFor": [{"resource": "pods", "name": user}],
        }
    }


@pytest.mark.parametrize(
    ("devices", "split"),
    [
        ([("node-1", 2), ("node-1", 3)], 0),
        ([("node-1", 1), ("node-1", 2)], 1),
        ([("node-1", 2), ("node-2", 3)], 1),
        ([("node-1", 2)], 1),
    ],
)
def test_gpus_that_nvlink_does_not_connect_are_split(devices: list[tuple[str, int]], split: int) -> None:
    found = outcome([PAIR], [claim(*devices)], NODES)
    assert (found.placed["required"], found.split["required"]) == (1, split)


def test_a_gpu_that_two_got_is_told() -> None:
    second = Replica("replica-1", Ask(1))
    claims = [claim(("node-1", 2), ("node-1", 3)), claim(("node-1", 3), user="replica-1")]
    assert outcome([PAIR, second], claims, NODES).double == 1


def test_who_waits_counts_for_nothing() -> None:
    waiting = {"status": {}}
    found = outcome([PAIR], [waiting], NODES)
    assert (dict(found.placed), dict(found.split), found.double) == ({}, {}, 0)


def test_the_same_seed_draws_the_same_fleet() -> None:
    names = ("hgx-a100", "partitions")
    assert fleet.draw(10, names, seed=1) == fleet.draw(10, names, seed=1)
    assert fleet.draw(10, names, seed=1) != fleet.draw(10, names, seed=2)


def test_nodes_of_one_topology_are_counted_through() -> None:
    nodes = fleet.draw(40, ("nvl72", "pcie"), seed=0)
    cliques = [node.manifest()["metadata"]["labels"].get("nvidia.com/gpu.clique") for node in nodes]
    sizes = sorted(cliques.count(clique) for clique in set(cliques) - {None})
    assert sizes == [2, 18]
