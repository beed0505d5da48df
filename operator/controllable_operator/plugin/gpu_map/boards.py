"""Each node's GPUs and what connects them, in an order in which connected ones stand side by side. Pure."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from controllable_operator.desired.common import NAME_LABEL
from controllable_operator.placement.groups import (
    DRIVER,
    KNOWN,
    PARTITIONS,
    PCIE_ROOT,
    PRODUCT_NAME,
    RESOURCE,
)
from controllable_operator.placement.inventory import attributes, current_slices
from controllable_operator.placement.links import connects, is_whole_board
from controllable_operator.placement.node_labels import PRODUCT, is_switched_node

Manifest = Mapping[str, Any]
Kind = Literal["NVSwitch", "NVLink", "Partition", "PCIeRoot"]


@dataclass(frozen=True)
class Frame:
    """GPUs that something connects: `gpus` in a row, from the one at position `first`."""

    kind: Kind
    first: int
    gpus: int


@dataclass(frozen=True)
class Board:
    """A node's GPUs.

    devices: as claims name them; of a device plugin's, nobody tells which one a pod has. frames: the outer
    ones before those that they hold. told: all attributes of each device that is claimed. own: those that an
    administrator says group NVLink peers.
    """

    node: str
    product: str
    devices: tuple[tuple[str, str], ...]
    frames: tuple[Frame, ...]
    claimed: bool
    told: tuple[Mapping[str, Any], ...] = ()
    own: tuple[str, ...] = ()

    def linked(self, positions: Iterable[int]) -> bool:
        """Whether NVLink is known to connect these GPUs."""
        if not self.claimed:
            return bool(self.frames)
        return connects([self.told[position] for position in positions], self.own)


def boards(nodes: Iterable[Manifest], slices: Iterable[Manifest], claims: Iterable[Manifest]) -> list[Board]:
    """All boards, by their node's name.

    An attribute that the claims of models name, besides the known ones, groups NVLink peers: the operator
    was told so by an administrator.
    """
    own = sorted({name for claim in claims if of_model(claim) for name in _matched(claim)} - KNOWN)
    found: dict[str, list[tuple[tuple[str, str], dict[str, Any]]]] = defaultdict(list)
    for item in current_slices(slices):
        spec = item["spec"]
        for device in spec.get("devices") or []:
            values = attributes(device)
            if values.get(f"{DRIVER}/type", "gpu") == "gpu":
                pool = str(spec["pool"]["name"])
                node = str(device.get("nodeName") or spec.get("nodeName") or pool)
                found[node].append(((pool, str(device["name"])), values))
    by_claims = [_claimed(node, devices, own) for node, devices in found.items()]
    plugged = [_plugged(node) for node in nodes if node["metadata"]["name"] not in found]
    return sorted([*by_claims, *(board for board in plugged if board)], key=lambda board: natural(board.node))


def of_model(item: Manifest) -> bool:
    """Whether a pod or a claim is a model's."""
    return (item["metadata"].get("labels") or {}).get(NAME_LABEL) == "controllable-model"


def natural(name: str) -> list[tuple[int, str]]:
    """To sort by: node-2 comes before node-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _claimed(node: str, devices: list[tuple[tuple[str, str], dict[str, Any]]], own: list[str]) -> Board:
    devices = sorted(devices, key=lambda device: natural(device[0][1]))
    levels = _levels([values for _, values in devices], own)
    ranks = [_ranks([key(values) for _, values in devices]) for _, key in levels]
    devices = [
        device
        for _, device in sorted(zip(zip(*ranks, strict=True), devices, strict=True), key=lambda pair: pair[0])
    ]
    frames: list[Frame] = []
    around: list[tuple[Hashable, ...]] = [()] * len(devices)
    for kind, key in levels:
        # a group that lies in two larger ones would have no place in either: it is shown in parts
        keys = [(*outer, key(values)) for outer, (_, values) in zip(around, devices, strict=True)]
        frames += [
            Frame(kind, *run) for run in _runs([None if found[-1] is None else found for found in keys])
        ]
        around = keys
    return Board(
        node,
        product=", ".join(sorted({str(values.get(PRODUCT_NAME, "GPU")) for _, values in devices})),
        devices=tuple(name for name, _ in devices),
        frames=tuple(frames),
        claimed=True,
        told=tuple(values for _, values in devices),
        own=tuple(own),
    )


def _plugged(node: Manifest) -> Board | None:
    amount = str(((node.get("status") or {}).get("allocatable") or {}).get(RESOURCE, "0"))
    if not amount.isdigit() or not int(amount):
        return None
    name, count = str(node["metadata"]["name"]), int(amount)
    labels = node["metadata"].get("labels") or {}
    frames = (Frame("NVSwitch", 0, count),) if is_switched_node(labels) and count > 1 else ()
    devices = tuple((name, "") for _ in range(count))
    return Board(name, str(labels.get(PRODUCT) or "GPU"), devices, frames, claimed=False)


Level = tuple[Kind, Callable[[Mapping[str, Any]], Hashable | None]]


def _levels(devices: list[dict[str, Any]], own: list[str]) -> list[Level]:
    """What groups these GPUs, from the largest groups to the smallest; how near they are only for want of
    NVLink."""

    def of(name: str) -> Callable[[Mapping[str, Any]], Hashable | None]:
        return lambda values: values.get(name)

    partitions = [name for _, name in sorted(PARTITIONS.items(), reverse=True)]
    levels: list[Level] = [("NVSwitch", lambda values: is_whole_board(values) or None)]
    levels += [("NVLink", of(name)) for name in own]
    levels += [("Partition", of(name)) for name in partitions]
    here = [level for level in levels if any(level[1](values) is not None for values in devices)]
    return here or [("PCIeRoot", of(PCIE_ROOT))]


def _ranks(keys: list[Hashable | None]) -> list[int]:
    """Numbers for values, in the order in which they come up."""
    seen: dict[Hashable | None, int] = {}
    return [seen.setdefault(key, len(seen)) for key in keys]


def _runs(keys: list[Hashable | None]) -> list[tuple[int, int]]:
    """Where each run of two or more equal values starts, and how long it is."""
    found, first = [], 0
    for index in range(1, len(keys) + 1):
        if index == len(keys) or keys[index] != keys[first]:
            if keys[first] is not None and index - first > 1:
                found.append((first, index - first))
            first = index
    return found


def _matched(claim: Manifest) -> list[str]:
    constraints = claim["spec"].get("devices", {}).get("constraints") or []
    return [str(item["matchAttribute"]) for item in constraints if item.get("matchAttribute")]
