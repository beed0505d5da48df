"""Nodes with GPUs that no kubelet runs: for the scheduler, which knows no difference."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dev.cluster import kwok
from dev.gpus.topologies import RESOURCE, TOPOLOGIES, Topology, labels, resource_slice

Manifest = dict[str, Any]


@dataclass(frozen=True)
class FleetNode:
    """ordinal: how many nodes of its topology come before it."""

    name: str
    topology: Topology
    ordinal: int

    def manifest(self, plugin: bool = True) -> Manifest:
        """The Node, with GPU Feature Discovery's labels and what the device plugin offers."""
        told = labels(self.topology, self.ordinal)
        return kwok.node(self.name, told, {RESOURCE: str(self.topology.gpus)} if plugin else {})

    def slice(self) -> Manifest:
        """The DRA driver's ResourceSlice. Its book and the device plugin's know nothing of each other."""
        return resource_slice(self.topology, self.name)


def draw(count: int, topologies: Sequence[str], seed: int) -> list[FleetNode]:
    """So many nodes of these topologies, in equal parts, in an order that the seed tells."""
    names = [topologies[index % len(topologies)] for index in range(count)]
    random.Random(seed).shuffle(names)
    return [
        FleetNode(f"gpus-{index:04d}", TOPOLOGIES[name], names[:index].count(name))
        for index, name in enumerate(names)
    ]
