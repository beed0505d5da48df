"""Which GPUs each replica really got: read back from its ResourceClaim, or from the node that it is on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controllable_operator.placement.groups import DRIVER, KNOWN
from controllable_operator.placement.inventory import attributes, current_slices
from controllable_operator.placement.links import connects
from controllable_operator.placement.node_labels import is_switched_node, tells_gpus
from controllable_operator.placement.plan import Placement

Manifest = Mapping[str, Any]
Device = tuple[str, str]  # pool and name


@dataclass(frozen=True)
class Allocated:
    """One replica that has its GPUs.

    linked: whether NVLink is known to connect them; None where nothing tells of them any more.
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
    users = list(_users(claims))
    known = _attributes({device for _, devices in users for device in devices}, slices)
    found = [Allocated(pod, len(devices), _linked(placement, devices, known)) for pod, devices in users]
    return sorted(found, key=lambda item: item.pod)


def by_nodes(pods: Iterable[Manifest], nodes: Iterable[Manifest], gpus: int) -> list[Allocated]:
    """Replicas of a device plugin that have a node, by name."""
    homes = {
        pod["metadata"]["name"]: node for pod in pods if (node := (pod.get("spec") or {}).get("nodeName"))
    }
    told = {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in nodes}
    switched = {
        name: is_switched_node(told[name])
        for name in set(homes.values())
        if name in told and tells_gpus(told[name])
    }
    return [Allocated(pod, gpus, switched.get(node)) for pod, node in sorted(homes.items())]


def _users(claims: Iterable[Manifest]) -> Iterator[tuple[str, list[Device]]]:
    """Pods, and the devices that they have been allocated."""
    for claim in claims:
        status = claim.get("status") or {}
        results = (status.get("allocation") or {}).get("devices", {}).get("results") or []
        devices = [(result["pool"], result["device"]) for result in results if result["driver"] == DRIVER]
        for user in status.get("reservedFor") or []:
            if devices and user.get("resource") == "pods":
                yield user["name"], devices


def _attributes(devices: set[Device], slices: Iterable[Manifest]) -> dict[Device, dict[str, Any]]:
    """What the driver tells of these devices. Of a fleet's others nothing is read: each model asks, often."""
    pools = {pool for pool, _ in devices}
    found = {}
    for item in current_slices(item for item in slices if item["spec"]["pool"]["name"] in pools):
        for device in item["spec"].get("devices") or []:
            if (name := (item["spec"]["pool"]["name"], device["name"])) in devices:
                found[name] = attributes(device)
    return found


def _linked(
    placement: Placement, results: list[Device], known: Mapping[Device, Mapping[str, Any]]
) -> bool | None:
    if len({pool for pool, _ in results}) != 1:
        return False
    devices = [device for name in results if (device := known.get(name)) is not None]
    if len(devices) < len(results):
        return None
    return connects(devices, own={way.attribute for way in placement.ways if way.attribute} - KNOWN)
