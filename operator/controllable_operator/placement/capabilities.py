"""What GPUs the cluster has, as a value. How many of them are free is the scheduler's business."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from controllable_operator.placement.groups import PARTITIONS

GIB = 2**30


@dataclass(frozen=True, order=True)
class GpuType:
    """What tells GPUs apart; empty or 0 where the cluster does not say."""

    product: str = ""
    memory: int = 0
    architecture: str = ""

    def told(self) -> str:
        """The type for people."""
        return self.product or (f"GPU of {self.memory / GIB:.0f} GiB" if self.memory else "GPU")


@dataclass(frozen=True)
class Devices:
    """GPUs of one type that a DRA driver offers.

    most: on one node. groups: for each attribute that groups GPUs, the most that share a value on one node.
    """

    type: GpuType
    nodes: int
    total: int
    most: int
    groups: Mapping[str, int] = field(default_factory=dict)

    @property
    def partitioned(self) -> bool:
        """Whether Fabric Manager gives them out as whole partitions: of other sets, none can be prepared."""
        return not self.groups.keys().isdisjoint(PARTITIONS.values())


@dataclass(frozen=True)
class Nodes:
    """Nodes whose device plugin offers GPUs of one type as nvidia.com/gpu.

    most: on one node. switched: NVSwitch connects all GPUs of a node. shared: several pods get the same GPU,
    or parts of it. cliques: nodes that NVLink connects with each other, by how many GPUs each of them has;
    equal ones once.
    """

    type: GpuType
    nodes: int
    total: int
    most: int
    switched: bool = False
    shared: bool = False
    cliques: tuple[tuple[int, ...], ...] = ()

    @property
    def clique(self) -> int:
        """The most GPUs that NVLink connects across nodes."""
        return max(map(sum, self.cliques), default=0)


@dataclass(frozen=True)
class Gpus:
    """All that the cluster says about its GPUs.

    device_class: the DeviceClass of the DRA driver is there, without which nothing can be claimed.
    multi_node: the kinds ComputeDomain and LeaderWorkerSet are served.
    """

    devices: tuple[Devices, ...] = ()
    nodes: tuple[Nodes, ...] = ()
    device_class: bool = False
    multi_node: bool = False

    @property
    def silent(self) -> bool:
        """Whether nothing tells of any GPU: there are none yet, or their drivers are away."""
        return not (self.devices or self.nodes)

    @property
    def claimable(self) -> tuple[Devices, ...]:
        """GPUs that a ResourceClaim can be allocated."""
        return self.devices if self.device_class else ()

    @property
    def offered(self) -> list[Devices | Nodes]:
        """GPUs that a pod can get, by a claim or from a device plugin."""
        return [*self.claimable, *self.nodes]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def told(self) -> str:
        """For people, in one line."""
        parts = [
            *(f"{_amount(item)} by DRA{_groups(item)}" for item in self.claimable),
            *(f"{_amount(item)} by the device plugin{_nature(item)}" for item in self.nodes),
        ]
        return "; ".join(parts) or "no GPUs"


def types_told(found: Iterable[Devices | Nodes]) -> str:
    """The types and how many there are of each, for people."""
    totals: dict[str, int] = {}
    for item in found:
        totals[item.type.told()] = totals.get(item.type.told(), 0) + item.total
    return ", ".join(f"{total} x {name}" for name, total in sorted(totals.items())) or "no GPUs"


def _amount(item: Devices | Nodes) -> str:
    return f"{item.total} x {item.type.told()} on {item.nodes} nodes"


def _groups(item: Devices) -> str:
    told = ", ".join(f"{attribute} of {size}" for attribute, size in sorted(item.groups.items()))
    return f" (groups by {told})" if told else ""


def _nature(item: Nodes) -> str:
    across = f"NVLink across nodes: {item.clique}" if item.clique > item.most else ""
    words = ["NVSwitch"] * item.switched + ["shared"] * item.shared + [across] * bool(across)
    return f" ({', '.join(words)})" if words else ""
