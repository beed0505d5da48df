"""From what is asked and what is there to the strongest mechanism. Pure, and no scheduler."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from controllable_operator.placement.ask import Ask
from controllable_operator.placement.capabilities import Devices, Gpus, Nodes
from controllable_operator.placement.groups import NEAR, PARTITIONS, is_switched
from controllable_operator.placement.plan import Obstacle, Placement

_ADD = "ask for fewer GPUs, or add nodes that have more"


def plan(ask: Ask, gpus: Gpus, attribute: str = "") -> Placement:
    """How every replica's GPUs are asked for.

    `required` is met in full or not at all: then the plan has an obstacle, and no pod is to be made. Where no
    GPUs are to be seen, pods may wait for an autoscaler to bring some, and start on nothing less.
    `preferred` takes the best that is there.

    Args:
        ask: what is asked for; at least one GPU.
        gpus: what is there.
        attribute: the administrator's own, which groups NVLink peers; empty for none.
    """
    return replace(_strongest(ask, gpus, attribute), asked=ask.key)


def _strongest(ask: Ask, gpus: Gpus, attribute: str) -> Placement:
    devices = ask.fitting(gpus.claimable)
    nodes = ask.fitting(gpus.nodes)
    if ask.nvlink == "none":
        return _any(ask, devices, nodes, _unmet(ask, gpus))
    whole = [item for item in nodes if not item.shared]
    linked = _any_of(list(_linked(ask, devices, whole, attribute)))
    if ask.nvlink == "required":
        return linked or _awaited(ask, gpus) or _impossible(ask, gpus, devices, whole, attribute)
    return linked or _near(ask, devices) or _any(ask, devices, whole, _unmet(ask, gpus))


def _linked(ask: Ask, devices: list[Devices], nodes: list[Nodes], attribute: str) -> Iterator[Placement]:
    """Plans by which NVLink connects the GPUs, the best first."""
    fallback = ask.nvlink == "preferred"
    for name in _exact(ask, attribute):
        if _largest(devices, name) >= ask.count:
            reason = f"the DRA driver groups NVLink peers by {name}"
            yield Placement("DRA", "NVLinkPartition", ask.count, name, fallback=fallback, reason=reason)
    if _most(item for item in devices if _is_switched(item)) >= ask.count:
        reason = "on nodes of the DRA driver NVSwitch connects all GPUs"
        yield Placement("DRA", "NVSwitchNode", ask.count, fallback=fallback, reason=reason)
    if _most(item for item in nodes if item.switched) >= ask.count:
        reason = "node labels tell of nodes on which NVSwitch connects all GPUs"
        yield Placement("DevicePlugin", "NVSwitchNode", ask.count, fallback=fallback, reason=reason)


def _any_of(plans: list[Placement]) -> Placement | None:
    """The best of them, and with it all that the same mechanism has: who asks for one alone waits while the
    others are free."""
    if not plans or plans[0].mechanism != "DRA":
        return plans[0] if plans else None
    best, *others = (item for item in plans if item.mechanism == "DRA")
    reason = "; or ".join(item.reason for item in (best, *others))
    return replace(best, also=tuple(item.attribute for item in others), reason=reason)


def _awaited(ask: Ask, gpus: Gpus) -> Placement | None:
    """A plan for GPUs that are still to come. The affinity of its pods lets them onto such nodes only."""
    if not gpus.silent:
        return None
    reason = "no node has GPUs yet; pods wait for one with labels that tell of NVSwitch"
    return Placement("DevicePlugin", "NVSwitchNode", ask.count, reason=reason)


def _near(ask: Ask, devices: list[Devices]) -> Placement | None:
    for name, level in NEAR.items():
        if _largest(_free_to_choose(devices), name) >= ask.count:
            reason = f"no NVLink group of {ask.count} GPUs is known; {name} keeps them near each other"
            return Placement("DRA", level, ask.count, name, fallback=True, reason=reason)
    return None


def _any(ask: Ask, devices: list[Devices], nodes: list[Nodes], unmet: str | None) -> Placement:
    """Any GPUs of one node. Where none are to be seen, an autoscaler may still bring some."""
    loose = _free_to_choose(devices) if ask.count > 1 else devices
    claimed = _most(loose) >= ask.count > _most(nodes)
    most = max(_most(loose), _most(nodes))
    reason = unmet or ("" if most >= ask.count else _too_few(ask, most, devices, nodes))
    if ask.nvlink != "none":
        reason = reason or "nothing tells which GPUs NVLink connects"
    book = "a DRA driver has them" if claimed else "the device plugin has them"
    return Placement("DRA" if claimed else "DevicePlugin", "Node", ask.count, reason=reason or book)


def _impossible(
    ask: Ask, gpus: Gpus, devices: list[Devices], nodes: list[Nodes], attribute: str
) -> Placement:
    """The plan of a replica that can't be placed as required, and why."""
    if unmet := _unmet(ask, gpus):
        return _blocked(ask, "MechanismUnavailable", unmet)
    clique = max((item.clique for item in nodes), default=0)
    largest = _largest_linked(devices, nodes, attribute)
    if clique >= ask.count:
        return Placement(
            "ComputeDomain" if gpus.multi_node else "DevicePlugin",
            "NVLinkClique",
            ask.count,
            reason="NVLink connects nodes of one clique",
            obstacle=Obstacle("MechanismUnavailable", _across_nodes(ask, gpus, clique, largest)),
        )
    asked = f"{ask.count} GPUs that NVLink connects are asked for"
    if largest >= ask.count:
        return _blocked(ask, "MechanismUnavailable", f"{asked}, and {_partitions(devices)}")
    if largest or clique:
        message = f"{asked}, and the largest group that it connects has {max(largest, clique)}; {_ADD}"
        return _blocked(ask, "CliqueTooSmall", message)
    message = f"{asked}, and 0 are known to be: {_silence(gpus)}; or set spec.gpu.nvlink to preferred"
    return _blocked(ask, "MechanismUnavailable", message)


def _blocked(ask: Ask, reason: str, message: str) -> Placement:
    return Placement("DevicePlugin", "Node", ask.count, reason=message, obstacle=Obstacle(reason, message))


def _across_nodes(ask: Ask, gpus: Gpus, clique: int, largest: int) -> str:
    how = (
        "what would place it there, kubectl controllable multi-node prints"
        if gpus.multi_node
        else "and ComputeDomain and LeaderWorkerSet are not both served here"
    )
    return (
        f"{ask.count} GPUs that NVLink connects are asked for: a clique has {clique}, but over several "
        f"nodes, and this version's engine serves a replica in one pod on one node, where {largest} is the "
        f"most; ask for {largest} or fewer ({how})"
    )


def _silence(gpus: Gpus) -> str:
    """Which source of knowledge is missing."""
    if gpus.devices and not gpus.device_class:
        return "the DeviceClass gpu.nvidia.com is missing; install NVIDIA's DRA driver in full"
    if gpus.devices:
        return (
            "the DRA driver's devices have no attribute that groups NVLink peers; name one to the operator "
            "(placement.nvlinkAttribute in its Helm chart)"
        )
    if any(item.type.product for item in gpus.nodes):
        return "the GPUs of these nodes are not known to be connected; take NVSwitch nodes or a DRA driver"
    return (
        "a device plugin alone chooses GPUs without regard to NVLink; install GPU Feature Discovery "
        "(node labels) or a DRA driver"
    )


def _exact(ask: Ask, attribute: str) -> list[str]:
    """Attributes that a group of exactly so many GPUs may share."""
    return [attribute] * bool(attribute) + [name for size, name in PARTITIONS.items() if size == ask.count]


def _largest_linked(devices: list[Devices], nodes: list[Nodes], attribute: str) -> int:
    """The most GPUs on one node that NVLink is known to connect."""
    names = [attribute, *PARTITIONS.values()]
    return max(
        *(_largest(devices, name) for name in names),
        _most(item for item in devices if _is_switched(item)),
        _most(item for item in nodes if item.switched),
    )


def _is_switched(item: Devices) -> bool:
    # Of a partitioned board, only the GPUs of one partition reach each other.
    return is_switched(item.type.product) and not item.partitioned


def _free_to_choose(devices: list[Devices]) -> list[Devices]:
    """Those of which any several can be had."""
    return [item for item in devices if not item.partitioned]


def _partitions(devices: list[Devices]) -> str:
    sizes = " or ".join(str(size) for size, name in PARTITIONS.items() if _largest(devices, name))
    return f"Fabric Manager's partitions, which are had as a whole only, have {sizes}; ask for so many"


def _largest(devices: list[Devices], attribute: str) -> int:
    return max((item.groups.get(attribute, 0) for item in devices), default=0)


def _most(items: Iterable[Devices | Nodes]) -> int:
    return max((item.most for item in items), default=0)


def _unmet(ask: Ask, gpus: Gpus) -> str | None:
    return ask.unmet(gpus.offered) if gpus.offered else None


def _too_few(ask: Ask, most: int, devices: list[Devices], nodes: list[Nodes]) -> str:
    asked = f"{ask.count} GPUs on one node are asked for"
    if _most(devices) >= ask.count:
        return f"{asked}, and {_partitions(devices)}"
    clique = max((item.clique for item in nodes), default=0)
    across = f" (a clique has {clique}, but over several nodes)" if clique >= ask.count else ""
    return f"{asked}, and no node has more than {most}{across}; {_ADD}"
