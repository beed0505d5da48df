"""Which GPUs each replica really got: read back from its ResourceClaim, or from the node that it is on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controllable_operator.placement.groups import DRIVER, PARTITIONS, is_switched
from controllable_operator.placement.inventory import attributes, current_slices
from controllable_operator.placement.node_labels import is_switched_node
from controllable_operator.placement.plan import Placement

Manifest = Mapping[str, Any]
_PRODUCT_NAME = f"{DRIVER}/productName"


@dataclass(frozen=True)
class Allocated:
    """One replica that has its GPUs.

    linked: whether NVLink is known to connect them; None where the driver tells of them no more.
    """

    pod: str
    gpus: int
    linked: bool | None


def by_claims(
    placement: Placement, claims: Iterable[Manifest], slices: Iterable[Manifest]
) -> list[Allocated]:
    """Replicas whose claims are allocated, by name.

    Args:
        placement: the plan that the pods were made by.
        claims: of the model's pods.
        slices: all that there are.
    """
    known = {
        (item["spec"]["pool"]["name"], device["name"]): attributes(device)
        for item in current_slices(slices)
        for device in item["spec"].get("devices") or []
    }
    found = []
    for claim in claims:
        status = claim.get("status") or {}
        results = (status.get("allocation") or {}).get("devices", {}).get("results") or []
        devices = [result for result in results if result["driver"] == DRIVER]
        for user in status.get("reservedFor") or []:
            if devices and user.get("resource") == "pods":
                linked = _linked(placement, devices, known)
                found.append(Allocated(user["name"], len(devices), linked))
    return sorted(found, key=lambda item: item.pod)


def by_nodes(pods: Iterable[Manifest], nodes: Iterable[Manifest], gpus: int) -> list[Allocated]:
    """Replicas of a device plugin that have a node, by name."""
    switched = {node["metadata"]["name"]: is_switched_node(node["metadata"].get("labels") or {}) for node in nodes}
    return sorted(
        (
            Allocated(pod["metadata"]["name"], gpus, switched.get(node, False))
            for pod in pods
            if (node := (pod.get("spec") or {}).get("nodeName"))
        ),
        key=lambda item: item.pod,
    )


def _linked(
    placement: Placement, results: list[Manifest], known: Mapping[tuple[str, str], Mapping[str, Any]]
) -> bool | None:
    found = [known.get((result["pool"], result["device"])) for result in results]
    if len({result["pool"] for result in results}) != 1 or not placement.has_nvlink:
        return False
    devices = [device for device in found if device is not None]
    if len(devices) < len(found):
        return None
    return any(
        _grouped(way.attribute, devices) if way.attribute else _switched(devices) for way in placement.ways
    )


def _grouped(attribute: str, devices: list[Mapping[str, Any]]) -> bool:
    values = {str(device.get(attribute)) for device in devices}
    # An attribute that none of them has is no group.
    return len(values) == 1 and values != {"None"}


def _switched(devices: list[Mapping[str, Any]]) -> bool:
    return all(
        is_switched(str(device.get(_PRODUCT_NAME, ""))) and device.keys().isdisjoint(PARTITIONS.values())
        for device in devices
    )
