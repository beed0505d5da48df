"""Nodes with GPUs: what connects the GPUs, and what the cluster gets to know of it. Data, and pure functions.

Names and types of attributes are those of NVIDIA's DRA driver (0.5), labels those of GPU Feature Discovery.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

DRIVER = "gpu.nvidia.com"  # and its DeviceClass
RESOURCE = "nvidia.com/gpu"
CLIQUE = "nvidia.com/gpu.clique"
# NVIDIA's driver tells nothing of bridges. This stands for the attribute that an administrator may add and
# name to the operator (placement.nvlinkAttribute in its chart).
BRIDGE = "example.com/nvlinkBridge"
PCIE_ROOT, NUMA_NODE = "resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"

_IS_GPU = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
DEVICE_CLASS: Manifest = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "DeviceClass",
    "metadata": {"name": DRIVER},
    "spec": {"selectors": [{"cel": {"expression": _IS_GPU}}]},
}


@dataclass(frozen=True)
class Topology:
    """A node's GPUs. Groups are GPUs with consecutive numbers.

    memory: of each GPU, in MiB. nvlink: sizes of the groups that NVLink connects. partitioned: these groups
    are Fabric Manager's partitions, had as a whole only. per_root, per_numa: GPUs of one PCIe root, one NUMA
    node. clique: nodes that NVLink connects.
    """

    product: str
    memory: int
    architecture: str
    capability: str
    gpus: int = 8
    nvlink: tuple[int, ...] = ()
    partitioned: bool = False
    per_root: int = 1
    per_numa: int = 4
    clique: int = 0

    @property
    def bridged(self) -> bool:
        """NVLink connects some GPUs, not all, and always the same ones."""
        return not self.partitioned and bool(self.nvlink) and max(self.nvlink) < self.gpus


_H100 = ("NVIDIA H100 80GB HBM3", 81559, "Hopper", "9.0.0")
TOPOLOGIES = {
    "hgx-a100": Topology("NVIDIA A100-SXM4-80GB", 81920, "Ampere", "8.0.0", nvlink=(8,), per_root=2),
    "hgx-h100": Topology(*_H100, nvlink=(8,)),
    "partitions": Topology(*_H100, nvlink=(1, 2, 4, 8), partitioned=True),
    "bridge-pairs": Topology("NVIDIA A100 80GB PCIe", 81920, "Ampere", "8.0.0", nvlink=(2,), per_root=4),
    "pcie": Topology("NVIDIA L40S", 46068, "Ada Lovelace", "8.9.0", per_root=2),
    "nvl72": Topology(
        "NVIDIA GB200", 189471, "Blackwell", "10.0.0", gpus=4, nvlink=(4,), per_numa=2, clique=18
    ),
}


def resource_slice(topology: Topology, node: str) -> Manifest:
    """The ResourceSlice that the DRA driver publishes for a node."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-{DRIVER}"},
        "spec": {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {
                    "name": f"gpu-{index}",
                    "attributes": _attributes(topology, node, index),
                    "capacity": {"memory": {"value": f"{topology.memory}Mi"}},
                }
                for index in range(topology.gpus)
            ],
        },
    }


def labels(topology: Topology, ordinal: int = 0) -> dict[str, str]:
    """The labels that GPU Feature Discovery gives to a node, the `ordinal`th with this topology."""
    major, minor, _ = topology.capability.split(".")
    found = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": topology.product.replace(" ", "-"),
        "nvidia.com/gpu.count": str(topology.gpus),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu.memory": str(topology.memory),
        "nvidia.com/gpu.family": topology.architecture.lower().replace(" ", "-"),
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
    }
    if topology.clique:
        found[CLIQUE] = f"{_identity('cluster')}.{ordinal // topology.clique}"
    return found


def gpu_uuid(node: str, index: int) -> str:
    """A GPU's identity: the same at every start."""
    return f"GPU-{_identity(f'{node}/{index}')}"


def index_of(device: str) -> int:
    """The number of a GPU, from its device's name."""
    return int(device.removeprefix("gpu-"))


def linked(topology: Topology, gpus: Iterable[int]) -> bool:
    """Whether NVLink connects these GPUs of a node, each with each. This is what is so, whoever knows it."""
    wanted = set(gpus)
    if topology.partitioned:
        return is_partition(topology, wanted)
    return len(wanted) == 1 or any(len({gpu // size for gpu in wanted}) == 1 for size in topology.nvlink)


def is_partition(topology: Topology, gpus: Iterable[int]) -> bool:
    """Whether these GPUs are exactly one of Fabric Manager's partitions."""
    wanted = set(gpus)
    return len(wanted) in topology.nvlink and len({gpu // len(wanted) for gpu in wanted}) == 1


def _attributes(topology: Topology, node: str, index: int) -> Manifest:
    root = index // topology.per_root
    found: Manifest = {
        "type": {"string": "gpu"},
        "uuid": {"string": gpu_uuid(node, index)},
        "productName": {"string": topology.product},
        "brand": {"string": "Nvidia"},
        "architecture": {"string": topology.architecture},
        "cudaComputeCapability": {"version": topology.capability},
        "driverVersion": {"version": "580.105.8"},
        "cudaDriverVersion": {"version": "13.0.0"},
        "resource.kubernetes.io/pciBusID": {"string": f"0000:{16 * (root + 1) + index + 1:02x}:00.0"},
        PCIE_ROOT: {"string": f"pci0000:{16 * (root + 1):02x}"},
        NUMA_NODE: {"int": index // topology.per_numa},
    }
    if topology.partitioned:
        found["gpuModuleId"] = {"int": index + 1}
        found |= {f"partition{size}": {"int": _partition(topology, size, index)} for size in topology.nvlink}
    if topology.bridged:
        found[BRIDGE] = {"int": index // max(topology.nvlink)}
    return found


def _partition(topology: Topology, size: int, index: int) -> int:
    """The identity of a partition, which no partition of another size has, as with Fabric Manager."""
    larger = sum(topology.gpus // other for other in topology.nvlink if other > size)
    return larger + index // size


def _identity(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{DRIVER}")
