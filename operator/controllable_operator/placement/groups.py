"""What groups GPUs: attributes of devices, and boards on which any two GPUs are as good as any other two."""

import re
from typing import Literal

DRIVER = "gpu.nvidia.com"
DEVICE_CLASS = DRIVER
PRODUCT_NAME = f"{DRIVER}/productName"
RESOURCE = "nvidia.com/gpu"

# Partitions that Fabric Manager can make of the GPUs of a board, by their size. A set of GPUs that is not
# exactly one of them can't be prepared.
PARTITIONS = {size: f"{DRIVER}/partition{size}" for size in (2, 4, 8)}
PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
NUMA_NODE = "resource.kubernetes.io/numaNode"
# Near each other, but not connected by NVLink; the nearest first.
NEAR: dict[str, Literal["PCIeRoot", "NUMANode"]] = {PCIE_ROOT: "PCIeRoot", NUMA_NODE: "NUMANode"}
# Any other that claims match groups NVLink peers: an administrator said so.
KNOWN = frozenset({*PARTITIONS.values(), *NEAR})

# Products that are only sold on boards where NVSwitch, or NVLink from each GPU to each other, connects all.
# SXM2 cards (a cube mesh) and cards with bridges (pairs) are not among them.
_SWITCHED = (
    "Tesla-V100-SXM3-32GB",
    "A100-SXM4-40GB",
    "A100-SXM4-80GB",
    "A800-SXM4-80GB",
    "H100-80GB-HBM3",
    "H800",
    "H20",
    "H200",
    "B200",
    "B300-SXM6-AC",
    "GB200",
    "GB300",
)


def bare(product: str) -> str:
    """A product without what its writers differ in: the maker's name, spaces, case."""
    return re.sub(r"^nvidia-", "", product.replace(" ", "-").lower())


_BARE_SWITCHED = frozenset(map(bare, _SWITCHED))


def is_switched(product: str) -> bool:
    """Whether any two GPUs of this product on a node are NVLink peers."""
    return bare(product) in _BARE_SWITCHED


def switched_products() -> tuple[str, ...]:
    """All products for which that is known."""
    return _SWITCHED
