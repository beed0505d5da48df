"""From Nodes, ResourceSlices and DeviceClasses to `Gpus`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from controllable_operator.placement.capabilities import Devices, Gpus, GpuType, Nodes
from controllable_operator.placement.groups import (
    DEVICE_CLASS,
    DRIVER,
    NEAR,
    PARTITIONS,
    PRODUCT_NAME,
    RESOURCE,
)
from controllable_operator.placement.links import is_partitioned
from controllable_operator.placement.node_labels import (
    CLIQUE,
    FAMILY,
    MEMORY,
    PRODUCT,
    is_switched_node,
    is_whole,
)

Manifest = Mapping[str, Any]

_FAMILIES = {"ada-lovelace": "Ada Lovelace"}


def inventory(
    nodes: Iterable[Manifest],
    slices: Iterable[Manifest] = (),
    classes: Iterable[Manifest] = (),
    attribute: str = "",
    multi_node: bool = False,
) -> Gpus:
    """What the cluster has.

    Args:
        nodes, slices, classes: as the API server has them.
        attribute: one that the administrator says groups NVLink peers; empty for none.
        multi_node: whether ComputeDomain and LeaderWorkerSet are both served.
    """
    grouping = frozenset({attribute} - {""}) | frozenset(PARTITIONS.values()) | NEAR.keys()
    return Gpus(
        devices=_devices(current_slices(slices), grouping),
        nodes=_nodes(nodes),
        device_class=any(item["metadata"]["name"] == DEVICE_CLASS for item in classes),
        multi_node=multi_node,
    )


def current_slices(slices: Iterable[Manifest]) -> list[Manifest]:
    """The slices of the GPU driver that are of the newest generation of their pool."""
    ours = [item for item in slices if item["spec"]["driver"] == DRIVER]
    newest: dict[str, int] = {}
    for item in ours:
        pool = item["spec"]["pool"]
        newest[pool["name"]] = max(newest.get(pool["name"], 0), pool.get("generation", 0))
    return [item for item in ours if item["spec"]["pool"].get("generation", 0) == newest[_pool(item)]]


def attributes(device: Manifest) -> dict[str, Any]:
    """A device's attributes by their full names."""
    values = device.get("attributes") or {}
    return {_qualified(name): next(iter(value.values()), None) for name, value in values.items()}


def _devices(slices: Iterable[Manifest], grouping: frozenset[str]) -> tuple[Devices, ...]:
    alike: dict[tuple[GpuType, bool], dict[str, list[dict[str, Any]]]]
    alike = defaultdict(lambda: defaultdict(list))
    for item in slices:
        spec = item["spec"]
        for device in spec.get("devices") or []:
            values = attributes(device)
            if values.get(_qualified("type"), "gpu") == "gpu" and not _is_tainted(device):
                node = device.get("nodeName") or spec.get("nodeName") or _pool(item)
                alike[_type(values, device), is_partitioned(values)][node].append(values)
    return tuple(
        Devices(
            type=kind,
            nodes=len(found),
            total=sum(map(len, found.values())),
            most=max(map(len, found.values())),
            groups=_largest_groups(found.values(), grouping),
        )
        for (kind, _), found in sorted(alike.items())
    )


def _largest_groups(nodes: Iterable[list[dict[str, Any]]], grouping: frozenset[str]) -> dict[str, int]:
    largest: dict[str, int] = {}
    for devices in nodes:
        for attribute in grouping:
            sizes = Counter(str(values[attribute]) for values in devices if values.get(attribute) is not None)
            if sizes:
                largest[attribute] = max(largest.get(attribute, 0), *sizes.values())
    return largest


def _type(values: Mapping[str, Any], device: Manifest) -> GpuType:
    capacity = {_qualified(name): value for name, value in (device.get("capacity") or {}).items()}
    memory = capacity.get(_qualified("memory"), {}).get("value", 0)
    return GpuType(
        str(values.get(PRODUCT_NAME, "")),
        int(parse_quantity(memory)),
        str(values.get(_qualified("architecture"), "")),
    )


def _is_tainted(device: Manifest) -> bool:
    return any(taint.get("effect") in {"NoSchedule", "NoExecute"} for taint in device.get("taints") or [])


def _nodes(nodes: Iterable[Manifest]) -> tuple[Nodes, ...]:
    alike: dict[tuple[GpuType, bool, bool], list[tuple[int, str]]] = defaultdict(list)
    for node in nodes:
        amount = str(((node.get("status") or {}).get("allocatable") or {}).get(RESOURCE, "0"))
        if amount.isdigit() and int(amount):
            labels = node["metadata"].get("labels") or {}
            key = _node_type(labels), is_switched_node(labels), not is_whole(labels)
            alike[key].append((int(amount), labels.get(CLIQUE, "")))
    return tuple(
        Nodes(
            type=kind,
            nodes=len(found),
            total=sum(amount for amount, _ in found),
            most=max(amount for amount, _ in found),
            switched=switched,
            shared=shared,
            cliques=_cliques(found),
        )
        for (kind, switched, shared), found in sorted(alike.items())
    )


def _cliques(found: Iterable[tuple[int, str]]) -> tuple[tuple[int, ...], ...]:
    members: dict[str, list[int]] = defaultdict(list)
    for amount, clique in found:
        if clique:
            members[clique].append(amount)
    return tuple(sorted({tuple(sorted(amounts)) for amounts in members.values()}))


def _node_type(labels: Manifest) -> GpuType:
    memory, family = str(labels.get(MEMORY, "")), str(labels.get(FAMILY, ""))
    return GpuType(
        str(labels.get(PRODUCT, "")),
        int(memory) * 2**20 if memory.isdigit() else 0,
        _FAMILIES.get(family, family.capitalize()),
    )


def _qualified(name: str) -> str:
    return name if "/" in name else f"{DRIVER}/{name}"


def _pool(item: Manifest) -> str:
    return str(item["spec"]["pool"]["name"])
