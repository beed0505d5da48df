"""Who asks for GPUs, how the operator would ask for them, and what they got. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controllable_operator.desired.gpus import REQUEST, device_claim
from controllable_operator.placement import Gpus, Placement, plan
from controllable_operator.placement.ask import Ask
from controllable_operator.placement.selectors import device_selectors, node_terms

from dev.gpus.fleet import FleetNode
from dev.gpus.topologies import BRIDGE, DRIVER, RESOURCE, Topology, index_of, linked

Manifest = dict[str, Any]
NAMESPACE = "placement"
COUNTS = {1: 50, 2: 40, 4: 8, 8: 2}  # GPUs of a replica → how often, in a hundred
NVLINK = {"none": 20, "preferred": 30, "required": 50}


@dataclass(frozen=True)
class Replica:
    """One pod with GPUs."""

    name: str
    ask: Ask

    def without_intent(self) -> Replica:
        """The same, which leaves it to chance what connects its GPUs."""
        return replace(self, ask=replace(self.ask, nvlink="none"))


def draw(count: int, topologies: Sequence[Topology], gpus: Gpus, seed: int) -> tuple[list[Replica], int]:
    """So many replicas that the operator would make pods for; and how many it would refuse meanwhile."""
    chance = random.Random(seed)
    found: list[Replica] = []
    refused = 0
    while len(found) < count:
        (gpu_count,) = chance.choices(list(COUNTS), list(COUNTS.values()))
        (nvlink,) = chance.choices(list(NVLINK), list(NVLINK.values()))
        product = chance.choice(topologies).product.replace(" ", "-")
        ask = Ask(gpu_count, "none" if gpu_count == 1 else nvlink, product)
        if plan(ask, gpus, BRIDGE).obstacle:
            refused += 1
        else:
            found.append(Replica(f"replica-{len(found):05d}", ask))
    return found, refused


def claim_template(replica: Replica, gpus: Gpus) -> Manifest:
    """As the operator writes it; without an intent, as anybody would who knows nothing of NVLink."""
    ask = replica.ask
    devices = device_claim(ask, plan(ask, gpus, BRIDGE)) if ask.nvlink != "none" else plain_claim(ask)
    return {"metadata": {"name": replica.name}, "spec": {"spec": {"devices": devices}}}


def plain_claim(ask: Ask) -> Manifest:
    """Any GPUs of a node and of the product, also those of which Fabric Manager makes no partition."""
    selectors = device_selectors(ask, Placement("DRA", "Node", 1))
    asked = {"deviceClassName": DRIVER, "allocationMode": "ExactCount", "count": ask.count}
    expressions = [{"cel": {"expression": expression}} for expression in selectors]
    return {"requests": [{"name": REQUEST, "exactly": asked | {"selectors": expressions}}]}


def pod(replica: Replica, *, by_claim: bool) -> Manifest:
    """A pod that asks by a claim, or plainly for so many GPUs of the product."""
    container: Manifest = {"name": "main", "image": "localhost/pause:1"}
    spec: Manifest = {"containers": [container], "terminationGracePeriodSeconds": 0}
    if by_claim:
        spec["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": replica.name}]
        container["resources"] = {"claims": [{"name": "gpus"}]}
    else:
        container["resources"] = {"limits": {RESOURCE: str(replica.ask.count)}}
        plain = Placement("DevicePlugin", "Node", replica.ask.count)
        terms = [{"matchExpressions": term} for term in node_terms(replica.ask, plain)]
        required = {"nodeSelectorTerms": terms}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {"metadata": {"name": replica.name}, "spec": spec}


@dataclass(frozen=True)
class Outcome:
    """What replicas of several GPUs got, by what they asked for.

    placed: replicas that have GPUs. split: those of them that NVLink does not connect. double: GPUs that
    more than one replica got.
    """

    placed: Mapping[str, int]
    split: Mapping[str, int]
    double: int


def outcome(replicas: Iterable[Replica], claims: Iterable[Manifest], fleet: Iterable[FleetNode]) -> Outcome:
    """Judged by how the nodes are wired, and not by the attributes that the claims were made with."""
    asks = {replica.name: replica.ask for replica in replicas}
    topologies = {node.name: node.topology for node in fleet}
    taken: Counter[tuple[str, str]] = Counter()
    placed: Counter[str] = Counter()
    split: Counter[str] = Counter()
    for claim in claims:
        status = claim.get("status") or {}
        results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or []
        if not results:
            continue
        (user,) = status["reservedFor"]
        ask = asks[user["name"]]
        devices = [(result["pool"], result["device"]) for result in results if result["driver"] == DRIVER]
        taken.update(devices)
        if ask.count > 1:
            placed[ask.nvlink] += 1
            split[ask.nvlink] += not _is_linked(ask, devices, topologies)
    return Outcome(placed, split, sum(1 for amount in taken.values() if amount > 1))


def _is_linked(ask: Ask, devices: list[tuple[str, str]], topologies: Mapping[str, Topology]) -> bool:
    nodes = {node for node, _ in devices}
    if len(nodes) != 1 or len(set(devices)) != ask.count:
        return False
    return linked(topologies[nodes.pop()], [index_of(device) for _, device in devices])
