"""Labels of GPU Feature Discovery: what they tell of a node. selectors.py asks for the same."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from controllable_operator.placement.groups import bare, switched_products

Labels = Mapping[str, Any]

PRODUCT, MEMORY, FAMILY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/gpu.family"
# Of nodes that NVLink connects with each other.
CLIQUE = "nvidia.com/gpu.clique"
# Several pods get the same GPU.
SHARING = "nvidia.com/gpu.sharing-strategy"
SHARED = ("time-slicing", "mps")
# Only there where what is given out as nvidia.com/gpu are MIG instances: nvidia.com/mig.strategy tells what
# is to be done with such GPUs, also on nodes that have none.
INSTANCES = "nvidia.com/gpu.slices.gi"


def is_whole(labels: Labels) -> bool:
    """Whether a pod that gets a GPU of the node gets all of it, and for itself."""
    return labels.get(SHARING) not in SHARED and INSTANCES not in labels


def tells_gpus(labels: Labels) -> bool:
    """Whether they tell what GPUs the node has. While GPU Feature Discovery starts again, they do not."""
    return PRODUCT in labels or CLIQUE in labels


def is_switched_node(labels: Labels) -> bool:
    """Whether any two GPUs of the node are known to be NVLink peers."""
    return is_whole(labels) and (CLIQUE in labels or labels.get(PRODUCT) in switched_values())


@cache
def product_values(product: str) -> tuple[str, ...]:
    """Values of the product's label. Node affinity compares letter by letter, so they are spelt as the driver
    spells them, as far as that is known."""
    name = re.sub(r"^NVIDIA-", "", product.replace(" ", "-"), flags=re.IGNORECASE)
    spelt = _SPELT.get(bare(product), name)
    return spelt, f"NVIDIA-{spelt}"


@cache
def switched_values() -> frozenset[str]:
    """Values of the product's label where NVSwitch connects all GPUs of a node."""
    return frozenset(value for product in switched_products() for value in product_values(product))


_SPELT = {bare(product): product for product in switched_products()}
