"""What is asked for by the strongest mechanism there is, and never by a weaker one than is required."""

from typing import Any

import pytest
from controllable_operator.placement import Devices, Gpus, GpuType, Nodes, Placement, inventory, plan
from controllable_operator.placement.ask import Ask
from controllable_operator.placement.group import Group, group
from controllable_operator.placement.selectors import node_terms
from gpu_objects import DEVICE_CLASS, gpu_node, resource_slice
from hypothesis import given
from hypothesis import strategies as st

PAIR = Ask(2, "required")
LOOSE = {"PCIeRoot", "NUMANode", "Node"}
BOARD = resource_slice(partition2=2, partition4=4, partition8=8, pcieRoot=2)


def cluster(*slices: Any, nodes: Any = (), classes: Any = (DEVICE_CLASS,), **options: Any) -> Gpus:
    return inventory(nodes, slices, classes, **options)


def told(placement: Placement) -> tuple[str, str, str | None]:
    obstacle = placement.obstacle
    return placement.mechanism, placement.level, obstacle.reason if obstacle else None


# --- down the table, as one thing after the other is taken away ---------------------------------------------


@pytest.mark.parametrize(
    ("count", "attribute"),
    [(2, "gpu.nvidia.com/partition2"), (4, "gpu.nvidia.com/partition4"), (8, "gpu.nvidia.com/partition8")],
)
def test_a_partition_of_exactly_that_size_is_taken(count: int, attribute: str) -> None:
    placement = plan(Ask(count, "required"), cluster(BOARD))
    assert told(placement) == ("DRA", "NVLinkPartition", None)
    assert placement.attribute == attribute


def test_the_administrators_attribute_comes_before_nvidias() -> None:
    gpus = cluster(resource_slice(partition2=2, island=4), attribute="example.com/island")
    assert plan(PAIR, gpus, "example.com/island").attribute == "example.com/island"
    assert plan(Ask(3, "required"), gpus, "example.com/island").attribute == "example.com/island"


def test_everything_that_connects_as_many_will_do_whoever_asks_for_one_alone_waits_for_it() -> None:
    island = resource_slice("node-2", product="NVIDIA A100 80GB PCIe", island=2)
    gpus = cluster(BOARD, island, resource_slice("node-3"), attribute="example.com/island")
    placement = plan(PAIR, gpus, "example.com/island")
    assert (placement.attribute, placement.also) == ("example.com/island", ("gpu.nvidia.com/partition2", ""))
    assert [(way.level, way.attribute) for way in placement.ways] == [
        ("NVLinkPartition", "example.com/island"),
        ("NVLinkPartition", "gpu.nvidia.com/partition2"),
        ("NVSwitchNode", ""),
    ]
    assert placement.reason.endswith("partition2; or on nodes of the DRA driver NVSwitch connects all GPUs")
    assert plan(Ask(4, "required"), gpus, "example.com/island").also == ("",), "no island has four"


def test_whole_boards_count_beside_partitioned_ones_of_their_product() -> None:
    gpus = cluster(BOARD, resource_slice("node-2"))
    assert [(item.total, bool(item.groups)) for item in gpus.devices] == [(8, False), (8, True)]
    assert told(plan(Ask(3, "required"), gpus)) == ("DRA", "NVSwitchNode", None), "no partition has three"


def test_a_claim_and_a_limit_are_not_asked_for_at_once() -> None:
    placement = plan(PAIR, cluster(BOARD, nodes=[gpu_node("node-2")]))
    assert (placement.mechanism, placement.also) == ("DRA", ())


def test_without_the_dra_api_the_labels_are_gone_by() -> None:
    gpus = cluster(nodes=[gpu_node()], classes=())
    assert told(plan(PAIR, gpus)) == ("DevicePlugin", "NVSwitchNode", None)


def test_without_the_device_class_nothing_can_be_claimed() -> None:
    gpus = cluster(BOARD, classes=())
    placement = plan(PAIR, gpus)
    assert told(placement) == ("DevicePlugin", "Node", "MechanismUnavailable")
    assert placement.obstacle
    assert "DeviceClass gpu.nvidia.com is missing" in placement.obstacle.message


def test_without_the_driver_the_labels_are_gone_by() -> None:
    assert told(plan(PAIR, cluster(nodes=[gpu_node()]))) == ("DevicePlugin", "NVSwitchNode", None)


def test_without_the_labels_nothing_can_be_promised() -> None:
    placement = plan(PAIR, cluster(nodes=[gpu_node(product="")]))
    assert told(placement) == ("DevicePlugin", "Node", "MechanismUnavailable")
    assert placement.obstacle
    assert "install GPU Feature Discovery" in placement.obstacle.message


def test_without_groups_devices_of_a_switched_product_are_claimed() -> None:
    assert told(plan(PAIR, cluster(resource_slice()))) == ("DRA", "NVSwitchNode", None)


def test_gpus_near_each_other_are_not_required_nvlink_but_may_be_preferred() -> None:
    gpus = cluster(resource_slice(product="NVIDIA L40S", pcieRoot=2, numaNode=4))
    assert told(plan(PAIR, gpus)) == ("DevicePlugin", "Node", "MechanismUnavailable")
    near = plan(Ask(2, "preferred"), gpus)
    assert told(near) == ("DRA", "PCIeRoot", None)
    assert near.fallback
    assert told(plan(Ask(4, "preferred"), gpus)) == ("DRA", "NUMANode", None)
    assert told(plan(Ask(8, "preferred"), gpus)) == ("DRA", "Node", None)


@pytest.mark.parametrize("nearness", [{}, {"pcieRoot": 4}, {"numaNode": 4}])
def test_gpus_of_a_partitioned_board_are_no_fallback(nearness: dict[str, int]) -> None:
    """No set of them but a partition can be prepared, so such a pod would never start."""
    board = resource_slice(gpus=4, partition2=2, **nearness)
    placement = plan(Ask(3, "preferred"), cluster(board))
    assert told(placement) == ("DevicePlugin", "Node", None)
    assert "3 GPUs on one node are asked for, and Fabric Manager's partitions" in placement.reason
    whole = resource_slice("node-2", gpus=4, **nearness)
    assert plan(Ask(3, "preferred"), cluster(board, whole)).mechanism == "DRA"
    assert told(plan(Ask(1), cluster(board))) == ("DRA", "Node", None)


def test_boards_of_one_product_are_told_apart_by_their_partitions() -> None:
    gpus = cluster(resource_slice(gpus=4, partition2=2), resource_slice("node-2", gpus=4))
    assert sorted((item.partitioned, item.total) for item in gpus.devices) == [(False, 4), (True, 4)]
    assert told(plan(Ask(4, "required"), gpus)) == ("DRA", "NVSwitchNode", None)


def test_preferred_goes_down_to_the_plain_device_plugin() -> None:
    placement = plan(Ask(2, "preferred"), cluster(nodes=[gpu_node(product="")]))
    assert told(placement) == ("DevicePlugin", "Node", None)


def test_a_clique_label_makes_any_product_a_switched_one() -> None:
    gpus = cluster(nodes=[gpu_node(product="NVIDIA-GB999", clique="c1.0")])
    assert told(plan(PAIR, gpus)) == ("DevicePlugin", "NVSwitchNode", None)


def clique_of(*gpus: int, name: str = "c1.0") -> list[Any]:
    return [gpu_node(f"{name}-{i}", size, "NVIDIA-GB200", "189471", name) for i, size in enumerate(gpus)]


RACK = [gpu_node(f"node-{i}", 4, "NVIDIA-GB200", "189471", "c1.0") for i in range(18)]


@pytest.mark.parametrize(
    ("served", "mechanism", "told_how"),
    [
        (True, "ComputeDomain", "kubectl controllable multi-node prints"),
        (False, "DevicePlugin", "ComputeDomain and LeaderWorkerSet are not both served here"),
    ],
)
def test_a_clique_over_several_nodes_is_seen_but_a_replica_is_one_pod(
    served: bool, mechanism: str, told_how: str
) -> None:
    gpus = cluster(nodes=RACK, multi_node=served)
    placement = plan(Ask(8, "required"), gpus)
    assert told(placement) == (mechanism, "NVLinkClique", "MechanismUnavailable")
    assert placement.obstacle
    for part in ("8 GPUs", "a clique has 72", "ask for 4 or fewer", told_how):
        assert part in placement.obstacle.message
    assert told(plan(Ask(4, "required"), gpus)) == ("DevicePlugin", "NVSwitchNode", None)
    preferred = plan(Ask(8, "preferred"), gpus)
    assert "no node has more than 4 (a clique has 72, but over several nodes)" in preferred.reason


@pytest.mark.parametrize(
    ("count", "nodes", "expected"),
    [
        (8, RACK, Group(2, 4)),
        (6, RACK, Group(2, 3)),
        (16, RACK, Group(4, 4)),
        (5, RACK, Group(5, 1)),
        (5, RACK[:4], None),  # not in equal parts
        (9, RACK[:2], None),  # not that many
        (2, [gpu_node(f"node-{i}", 1, clique="c1.0") for i in range(2)], Group(2, 1)),
        (16, [gpu_node(f"node-{i}") for i in range(4)], None),  # no clique
        (8, clique_of(4, 1, 1, 1, 1), None),  # one node alone has four
        (12, clique_of(8, 4, 4), Group(3, 4)),  # nor do two have six
        (8, [*clique_of(8), *clique_of(4, 4, name="c2.0")], Group(2, 4)),
        (8, [*clique_of(4), *clique_of(4, name="c2.0")], None),  # two cliques
    ],
)
def test_a_replica_over_several_nodes_is_as_few_equal_pods_as_can_be(
    count: int, nodes: Any, expected: Group | None
) -> None:
    assert group(count, cluster(nodes=nodes).nodes) == expected


def test_one_gpu_without_nvlink_comes_from_whoever_has_it() -> None:
    assert told(plan(Ask(1), cluster(nodes=[gpu_node()]))) == ("DevicePlugin", "Node", None)
    assert told(plan(Ask(1), cluster(BOARD))) == ("DRA", "Node", None)
    assert told(plan(Ask(1), Gpus())) == ("DevicePlugin", "Node", None)


# --- what can't be had: with what is asked, and what is there -----------------------------------------------


@pytest.mark.parametrize(
    "gpus",
    [
        cluster(resource_slice(partition2=2)),
        cluster(nodes=[gpu_node(gpus=2), gpu_node("node-2", gpus=2)]),
        cluster(nodes=[gpu_node(f"node-{i}", 1, "NVIDIA-GB200", clique="c1.0") for i in range(2)]),
    ],
)
def test_a_group_too_small_is_told_with_both_numbers(gpus: Gpus) -> None:
    obstacle = plan(Ask(6, "required"), gpus).obstacle
    assert obstacle
    assert obstacle.reason == "CliqueTooSmall"
    assert obstacle.message.startswith("6 GPUs that NVLink connects are asked for, and the largest")
    assert "connects has 2" in obstacle.message
    assert "ask for fewer GPUs, or add nodes" in obstacle.message


def test_part_of_a_partition_is_not_to_be_had() -> None:
    obstacle = plan(Ask(3, "required"), cluster(BOARD)).obstacle
    assert obstacle
    assert obstacle.reason == "MechanismUnavailable"
    assert obstacle.message.startswith("3 GPUs")
    assert "have 2 or 4 or 8" in obstacle.message


@pytest.mark.parametrize("nvlink", ["required", "preferred"])
def test_a_product_that_nobody_has_is_told_with_those_there_are(nvlink: str) -> None:
    reason = plan(Ask(2, nvlink, product="B200"), cluster(BOARD)).reason
    assert reason.startswith("2 GPUs that are B200 are asked for, and 0 are there")
    assert "8 x NVIDIA H100 80GB HBM3" in reason
    assert "change spec.gpu.product" in reason


def test_memory_that_no_gpu_has_is_told_with_what_there_is() -> None:
    gib = 2**30
    reason = plan(Ask(2, "required", memory=100 * gib), cluster(BOARD)).reason
    assert reason.startswith("2 GPUs that have 100.0 GiB are asked for, and 0 are there")
    reason = plan(Ask(2, "required", need=120 * gib), cluster(BOARD)).reason
    assert "120.0 GiB that the model needs" in reason
    assert "smaller precision" in reason


def test_an_architecture_that_nobody_has_is_told() -> None:
    reason = plan(Ask(2, "required", architecture="Volta"), cluster(BOARD)).reason
    assert "architecture Volta" in reason
    assert "change spec.gpu.architecture" in reason


def test_more_gpus_than_any_node_has_are_told_where_they_are_only_preferred() -> None:
    placement = plan(Ask(16, "preferred"), cluster(nodes=[gpu_node(product="")]))
    assert placement.obstacle is None
    assert placement.reason.startswith("16 GPUs on one node are asked for, and no node has more than 8")


def test_where_no_gpus_are_to_be_seen_pods_wait_for_nodes_that_keep_the_promise() -> None:
    ask = Ask(2, "required", product="H100-80GB-HBM3")
    placement = plan(ask, Gpus())
    assert told(placement) == ("DevicePlugin", "NVSwitchNode", None)
    assert placement.reason.startswith("no node has GPUs yet; pods wait for one")
    terms = node_terms(ask, placement)
    nodes = [gpu_node(), gpu_node(sharing="mps"), gpu_node(product="NVIDIA-L40S"), gpu_node(product="")]
    assert [any(all(meets(node, part) for part in term) for term in terms) for node in nodes] == [
        True,
        False,
        False,
        False,
    ]


def test_devices_that_can_not_be_claimed_are_no_reason_to_wait_for_others() -> None:
    assert told(plan(PAIR, cluster(BOARD, classes=())))[2] == "MechanismUnavailable"


# --- what is counted ----------------------------------------------------------------------------------------


def test_a_product_is_the_same_however_it_is_written() -> None:
    for name in ("H100-80GB-HBM3", "nvidia-h100-80gb-hbm3", "NVIDIA H100 80GB HBM3"):
        assert plan(Ask(2, "required", product=name), cluster(BOARD)).obstacle is None


@pytest.mark.parametrize("name", ["H100-80GB-HBM3", "nvidia-h100-80gb-hbm3", "NVIDIA H100 80GB HBM3"])
def test_a_product_of_boards_with_nvswitch_is_asked_of_labels_as_the_driver_spells_it(name: str) -> None:
    ask = Ask(2, "required", product=name)
    placement = plan(ask, cluster(nodes=[gpu_node()]))
    assert placement.obstacle is None
    (term,) = node_terms(ask, placement)
    assert term[0]["values"] == ["H100-80GB-HBM3", "NVIDIA-H100-80GB-HBM3"]


def test_labels_are_compared_letter_by_letter_as_node_affinity_does() -> None:
    gpus = cluster(nodes=[gpu_node(product="NVIDIA-L40S")])
    assert "has more than 8" in plan(Ask(16, "preferred", product="L40S"), gpus).reason
    reason = plan(Ask(2, "preferred", product="l40s"), gpus).reason
    assert reason.startswith("2 GPUs that are l40s are asked for, and 0 are there (there: 8 x NVIDIA-L40S)")


def test_only_the_newest_generation_of_a_pool_counts() -> None:
    gpus = cluster(BOARD, resource_slice(gpus=2, generation=2, partition2=2))
    assert [item.total for item in gpus.devices] == [2]


def test_slices_of_one_instance_and_tainted_devices_do_not_count() -> None:
    board = resource_slice(gpus=4)
    board["spec"]["devices"][0]["attributes"]["type"] = {"string": "mig"}
    board["spec"]["devices"][1]["taints"] = [{"key": "broken", "effect": "NoExecute"}]
    assert [item.total for item in cluster(board).devices] == [2]


def test_groups_do_not_reach_beyond_a_node() -> None:
    gpus = cluster(resource_slice(gpus=2, partition4=4), resource_slice("node-2", gpus=2, partition4=4))
    assert gpus.devices[0].groups == {"gpu.nvidia.com/partition4": 2}


def test_shared_gpus_are_not_taken_for_several() -> None:
    slices = gpu_node("node-2", product="NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", clique="c.0")
    gpus = cluster(nodes=[gpu_node(sharing="time-slicing"), slices])
    assert plan(PAIR, gpus).obstacle is not None
    assert told(plan(Ask(1), gpus)) == ("DevicePlugin", "Node", None)


def test_what_is_there_can_be_told_to_people_and_machines() -> None:
    gpus = cluster(BOARD, nodes=[gpu_node("node-2", clique="c.0")])
    assert gpus.told().startswith("8 x NVIDIA H100 80GB HBM3 on 1 nodes by DRA (groups by gpu.nvidia.com/")
    assert gpus.told().endswith("8 x NVIDIA-H100-80GB-HBM3 on 1 nodes by the device plugin (NVSwitch)")
    assert gpus.to_json()["nodes"][0]["switched"] is True
    assert Gpus().told() == "no GPUs"


# --- whatever there is --------------------------------------------------------------------------------------

ATTRIBUTES = (*(f"gpu.nvidia.com/partition{n}" for n in (2, 4, 8)), "resource.kubernetes.io/pcieRoot")
types = st.builds(
    GpuType,
    product=st.sampled_from(["NVIDIA H100 80GB HBM3", "NVIDIA L40S", ""]),
    memory=st.sampled_from([0, 40 * 2**30, 80 * 2**30]),
    architecture=st.sampled_from(["Hopper", ""]),
)
sizes = st.integers(1, 8)
devices = st.builds(
    Devices,
    type=types,
    nodes=sizes,
    total=sizes,
    most=sizes,
    groups=st.dictionaries(st.sampled_from(ATTRIBUTES), sizes, max_size=4),
)
nodes = st.builds(
    Nodes,
    type=types,
    nodes=sizes,
    total=sizes,
    most=sizes,
    switched=st.booleans(),
    shared=st.booleans(),
    cliques=st.lists(st.lists(sizes, min_size=1, max_size=18).map(tuple), max_size=2).map(tuple),
)
clusters = st.builds(
    Gpus,
    devices=st.lists(devices, max_size=3).map(tuple),
    nodes=st.lists(nodes, max_size=3).map(tuple),
    device_class=st.booleans(),
    multi_node=st.booleans(),
)
asks = st.builds(
    Ask,
    count=st.integers(2, 16),
    nvlink=st.sampled_from(["required", "preferred"]),
    product=st.sampled_from(["", "H100-80GB-HBM3"]),
    memory=st.sampled_from([0, 60 * 2**30]),
    need=st.sampled_from([0, 70 * 2**30]),
)


@given(asks, clusters)
def test_a_required_plan_never_lets_gpus_be_split(ask: Ask, gpus: Gpus) -> None:
    placement = plan(ask, gpus)
    if ask.nvlink != "required" or placement.obstacle or gpus.silent:
        return
    assert placement.level not in LOOSE
    assert not placement.fallback
    if placement.level == "NVLinkPartition":
        assert any(item.groups.get(placement.attribute, 0) >= ask.count for item in gpus.claimable)
    else:
        whole = [item for item in gpus.nodes if item.switched and not item.shared]
        switched = [item for item in gpus.claimable if "H100" in item.type.product]
        offered: list[Devices | Nodes] = [*whole, *switched]
        assert any(item.most >= ask.count and ask.met_by(item) for item in offered)


nodes_as_told = st.builds(
    gpu_node,
    product=st.sampled_from(
        ["NVIDIA-H100-80GB-HBM3", "H100-80GB-HBM3-MIG-1g.10gb", "nvidia-h100-80gb-hbm3", "NVIDIA-L40S", ""]
    ),
    memory=st.sampled_from(["", "46068", "81559"]),
    clique=st.sampled_from(["", "c.0"]),
    sharing=st.sampled_from(["", "none", "time-slicing", "mps"]),
)


@given(asks, nodes_as_told)
def test_the_nodes_that_pods_may_go_to_are_those_that_were_counted(ask: Ask, node: Any) -> None:
    (told,) = cluster(nodes=[node]).nodes
    will_do = ask.met_by(told) and not told.shared
    for level, counted in (("Node", will_do), ("NVSwitchNode", will_do and told.switched)):
        terms = node_terms(ask, Placement("DevicePlugin", level, ask.count))  # type: ignore[arg-type]
        assert any(all(meets(node, part) for part in term) for term in terms) == counted


def meets(node: Any, expression: Any) -> bool:
    """As the scheduler understands a requirement of node affinity."""
    label = node["metadata"]["labels"].get(expression["key"])
    match expression["operator"]:
        case "In":
            return label in expression["values"]
        case "NotIn":
            return label not in expression["values"]
        case "Exists":
            return label is not None
        case "DoesNotExist":
            return label is None
        case "Gt":
            return label is not None and int(label) > int(expression["values"][0])
    raise AssertionError(expression)


@given(asks, clusters)
def test_preferred_always_has_a_plan_and_is_as_good_as_required(ask: Ask, gpus: Gpus) -> None:
    preferred = plan(Ask(ask.count, "preferred", ask.product, ask.memory), gpus)
    required = plan(Ask(ask.count, "required", ask.product, ask.memory), gpus)
    assert preferred.obstacle is None
    assert preferred.has_nvlink == (required.obstacle is None) or gpus.silent


@given(asks, clusters)
def test_a_plan_comes_back_from_the_pods_that_it_stands_on(ask: Ask, gpus: Gpus) -> None:
    placement = plan(ask, gpus)
    again = Placement.of_json(placement.to_json())
    assert again.to_json() == placement.to_json()


@given(asks, clusters)
def test_every_obstacle_names_what_is_asked_for(ask: Ask, gpus: Gpus) -> None:
    obstacle = plan(ask, gpus).obstacle
    assert obstacle is None or obstacle.message.startswith(f"{ask.count} GPUs")
