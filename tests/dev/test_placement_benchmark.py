"""The placement benchmark sees what it is there to see: it could say that `required` was broken."""

from typing import Any

import pytest
from controllable_operator.placement import Gpus, inventory
from controllable_operator.placement.ask import Ask

from benchmarks.placement.arrivals import Arrival, Book, Tally, asks, emitted, naive, strongest
from benchmarks.placement.replicas import Replica, claim_template, outcome, plain_claim
from dev.gpus import fleet
from dev.gpus.topologies import BRIDGE, DEVICE_CLASS, TOPOLOGIES, resource_slice

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


def test_without_an_intent_any_gpus_are_claimed_also_those_of_partitioned_boards() -> None:
    nodes = [resource_slice(TOPOLOGIES["partitions"], "node-1")]
    found = inventory([], nodes, [DEVICE_CLASS])
    with_intent, without = (claim_template(item, found) for item in (PAIR, PAIR.without_intent()))
    assert with_intent["spec"]["spec"]["devices"]["constraints"]
    assert without["spec"]["spec"]["devices"] == plain_claim(PAIR.ask)
    assert plain_claim(PAIR.ask)["requests"][0]["exactly"]["selectors"] == []


def test_the_same_seed_draws_the_same_fleet() -> None:
    names = ("hgx-a100", "partitions")
    assert fleet.draw(10, names, seed=1) == fleet.draw(10, names, seed=1)
    assert fleet.draw(10, names, seed=1) != fleet.draw(10, names, seed=2)


def test_nodes_of_one_topology_are_counted_through() -> None:
    nodes = fleet.draw(40, ("nvl72", "pcie"), seed=0)
    cliques = [node.manifest()["metadata"]["labels"].get("nvidia.com/gpu.clique") for node in nodes]
    sizes = sorted(cliques.count(clique) for clique in set(cliques) - {None})
    assert sizes == [2, 18]


# --- replicas that come and go ------------------------------------------------------------------------------

MIXED = ("hgx-a100", "partitions", "bridge-pairs", "pcie")


def book(name: str, *taken: int) -> Book:
    """One node of a topology, on which these GPUs are taken."""
    return Book({"node-1": TOPOLOGIES[name]}, {"somebody": [("node-1", gpu) for gpu in taken]})


def gpus() -> Gpus:
    nodes = fleet.draw(len(MIXED), MIXED, seed=0)
    return inventory([], [node.slice() for node in nodes], [DEVICE_CLASS], BRIDGE)


@pytest.mark.parametrize(
    ("found", "ask", "enough", "connected"),
    [
        (book("bridge-pairs"), Ask(2, "required"), True, True),
        (book("bridge-pairs", 0, 2, 4, 6), Ask(2, "required"), True, False),
        (book("bridge-pairs", 0, 1, 2, 3, 4, 5, 6), Ask(2, "required"), False, False),
        (book("bridge-pairs"), Ask(4, "required"), False, False),
        (book("pcie"), Ask(2, "required"), False, False),
        (book("hgx-a100", 0, 2, 4, 6), Ask(4, "required"), True, True),
        (book("partitions", 0, 4), Ask(4, "required"), True, False),
        (book("partitions", 0), Ask(4, "required"), True, True),
        (book("partitions"), Ask(3, "required"), False, False),
        (book("pcie", 0), Ask(1, product="NVIDIA-L40S"), True, True),
        (book("pcie", 0), Ask(1, product="NVIDIA-A100-SXM4-80GB"), False, False),
    ],
)
def test_free_gpus_are_enough_or_even_connected(found: Book, ask: Ask, enough: bool, connected: bool) -> None:
    assert (found.enough(ask), found.connected(ask)) == (enough, connected)


def test_a_book_knows_its_load() -> None:
    assert book("pcie", 1, 2).load == 0.25


def test_ways_of_asking_differ_in_what_they_say_of_nvlink() -> None:
    pair = Ask(2, "required", "NVIDIA-A100-80GB-PCIe")
    assert naive(pair, gpus()) == naive(Ask(2), gpus())
    assert len(strongest(Ask(2, "required"), gpus())["constraints"]) == 1
    assert len(emitted(Ask(2, "required"), gpus())["requests"][0]["firstAvailable"]) == 3
    assert emitted(pair, gpus()) == strongest(pair, gpus()), "a product that is connected in one way"


def test_who_waits_is_told_by_what_was_free() -> None:
    pair = Ask(2, "required")
    arrivals = [
        Arrival(pair, enough=True, connected=True, got=False, split=False),
        Arrival(pair, enough=True, connected=False, got=False, split=False),
        Arrival(pair, enough=False, connected=False, got=False, split=False),
        Arrival(pair, enough=True, connected=True, got=True, split=True),
        Arrival(Ask(1), enough=True, connected=True, got=False, split=False),
    ]
    assert Tally.of(arrivals, "required") == Tally(4, 0.5, 0.25, 0.25, 0.25)


def test_the_same_seed_draws_the_same_stream() -> None:
    topologies = [TOPOLOGIES[name] for name in MIXED]

    def drawn(seed: int) -> list[Ask]:
        stream = asks(topologies, gpus(), seed)
        return [next(stream) for _ in range(40)]

    assert drawn(1) == drawn(1) != drawn(2)
