"""Replicas that come and go on a fleet, ways to ask for their GPUs, and what became of them. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controllable_operator.desired.gpus import device_claim, node_affinity
from controllable_operator.placement import Gpus, plan
from controllable_operator.placement.ask import Ask

from dev.gpus.fleet import FleetNode
from dev.gpus.topologies import BRIDGE, DRIVER, Topology, linked

Manifest = dict[str, Any]
Device = tuple[str, int]  # node and number

# Of a hundred that arrive: how many, GPUs of each, NVLink, whether of a product.
MIX = (
    (40, 1, "none", False),
    (10, 1, "none", True),
    (15, 2, "required", False),
    (10, 2, "required", True),
    (10, 2, "preferred", False),
    (8, 4, "required", False),
    (3, 4, "preferred", False),
    (4, 8, "required", False),
)


def asks(topologies: Iterable[Topology], gpus: Gpus, seed: int) -> Iterator[Ask]:
    """A stream without end; what no node of the fleet could have is drawn anew."""
    chance = random.Random(seed)
    products = [topology.product.replace(" ", "-") for topology in topologies]
    while True:
        ((_, count, nvlink, named),) = chance.choices(MIX, [kind[0] for kind in MIX])
        ask = Ask(count, nvlink, chance.choice(products) if named else "")
        if not plan(ask, gpus, BRIDGE).obstacle:
            yield ask


@dataclass(frozen=True)
class Way:
    """How GPUs are asked for.

    devices: of the claim. wishes: whether the pod tells which nodes it had rather be on. packed: whether the
    fullest node is the best.
    """

    name: str
    devices: Callable[[Ask, Gpus], Manifest]
    wishes: bool = False
    packed: bool = False


def naive(ask: Ask, gpus: Gpus) -> Manifest:
    """So many GPUs, whatever they are."""
    exactly = {"deviceClassName": DRIVER, "allocationMode": "ExactCount", "count": ask.count}
    return {"requests": [{"name": "gpus", "exactly": exactly}]}


def strongest(ask: Ask, gpus: Gpus) -> Manifest:
    """The best way to NVLink that the cluster has, and that alone."""
    return device_claim(ask, replace(plan(ask, gpus, BRIDGE), also=()))


def emitted(ask: Ask, gpus: Gpus) -> Manifest:
    """As the operator writes it."""
    return device_claim(ask, plan(ask, gpus, BRIDGE))


WAYS = (
    Way("any GPUs, no intent", naive),
    Way("the strongest way to NVLink", strongest),
    Way("every way to NVLink", emitted),
    Way("… with wishes for nodes: **the operator**", emitted, wishes=True),
    Way("… where nodes are filled up (MostAllocated)", emitted, wishes=True, packed=True),
)


def pod(name: str, ask: Ask, gpus: Gpus, way: Way, tenant: str, template: str) -> Manifest:
    """A replica on nodes of its tenant. Its share of CPU is what MostAllocated sees of it."""
    resources = {"requests": {"cpu": str(8 * ask.count)}, "claims": [{"name": "gpus"}]}
    spec: Manifest = {
        "containers": [{"name": "main", "image": "localhost/pause:1", "resources": resources}],
        "resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": template}],
        "nodeSelector": {"tenant": tenant},
        "terminationGracePeriodSeconds": 0,
        "schedulerName": "packing" if way.packed else "default-scheduler",
    }
    if way.wishes and (affinity := node_affinity(ask, plan(ask, gpus, BRIDGE))):
        spec["affinity"] = {"nodeAffinity": affinity}
    return {"metadata": {"name": name, "labels": {"tenant": tenant}}, "spec": spec}


@dataclass
class Book:
    """Who has which GPUs of a tenant's nodes, by how these are wired."""

    topologies: Mapping[str, Topology]
    taken: dict[str, list[Device]] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[FleetNode]) -> Book:
        return cls({node.name: node.topology for node in nodes})

    @property
    def load(self) -> float:
        """The share of GPUs that somebody has."""
        having = sum(map(len, self.taken.values()))
        return having / sum(topology.gpus for topology in self.topologies.values())

    def enough(self, ask: Ask) -> bool:
        """Whether so many GPUs are free, together or not, on nodes that could connect so many by NVLink."""
        able = (node for node in self.topologies if self._groups(node, ask))
        return sum(len(self._free(node)) for node in able) >= ask.count

    def connected(self, ask: Ask) -> bool:
        """Whether so many that NVLink connects are free."""
        return any(
            len(group & self._free(node)) >= ask.count
            for node in self.topologies
            for group in self._groups(node, ask)
        )

    def is_split(self, devices: list[Device]) -> bool:
        """Whether NVLink does not connect these."""
        nodes = {node for node, _ in devices}
        return len(nodes) != 1 or not linked(self.topologies[nodes.pop()], [gpu for _, gpu in devices])

    def _free(self, node: str) -> set[int]:
        having = {gpu for devices in self.taken.values() for place, gpu in devices if place == node}
        return set(range(self.topologies[node].gpus)) - having

    def _groups(self, node: str, ask: Ask) -> list[set[int]]:
        """Groups of a node that hold what is asked for."""
        topology = self.topologies[node]
        if ask.product and ask.product != topology.product.replace(" ", "-"):
            return []
        if ask.count == 1:
            return [set(range(topology.gpus))]
        return [
            set(range(first, first + size))
            for size in topology.nvlink
            if size == ask.count or (size > ask.count and not topology.partitioned)
            for first in range(0, topology.gpus, size)
        ]


@dataclass(frozen=True)
class Arrival:
    """enough, connected: what was free before. got: whether it has its GPUs; split: without NVLink."""

    ask: Ask
    enough: bool
    connected: bool
    got: bool
    split: bool


@dataclass(frozen=True)
class Tally:
    """Of all that arrived in one stream, shares; of those with several GPUs, by intent.

    waiting: have none though enough are free. missed: those of them for whom a whole group is free. split:
    have theirs without NVLink. avoidable: those of them for whom a whole group was free.
    """

    arrived: int
    waiting: float
    missed: float
    split: float
    avoidable: float

    @classmethod
    def of(cls, arrivals: Iterable[Arrival], nvlink: str) -> Tally:
        mine = [item for item in arrivals if item.ask.nvlink == nvlink]
        counts = Counter(
            name
            for item in mine
            for name, holds in (
                ("waiting", not item.got and item.enough),
                ("missed", not item.got and item.connected),
                ("split", item.split),
                ("avoidable", item.split and item.connected),
            )
            if holds
        )
        shares = {
            name: counts[name] / max(1, len(mine)) for name in ("waiting", "missed", "split", "avoidable")
        }
        return cls(len(mine), **shares)
