"""Whether NVLink connects GPUs, by what a DRA driver tells of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controllable_operator.placement.groups import PARTITIONS, PRODUCT_NAME, is_switched

Attributes = Mapping[str, Any]


def connects(devices: Sequence[Attributes], own: Iterable[str] = ()) -> bool:
    """Whether NVLink is known to connect these GPUs of one node.

    Args:
        devices: all attributes of each, by their full names.
        own: attributes that an administrator says group NVLink peers.
    """
    if any(_share(devices, name) for name in own):
        return True
    if any(map(is_partitioned, devices)):
        # had in part, nothing is known of a partition
        whole = PARTITIONS.get(len(devices))
        return whole is not None and _share(devices, whole)
    return all(is_whole_board(device) for device in devices)


def is_whole_board(device: Attributes) -> bool:
    """Whether NVSwitch connects the GPU with all others of its node."""
    return is_switched(str(device.get(PRODUCT_NAME, ""))) and not is_partitioned(device)


def is_partitioned(device: Attributes) -> bool:
    """Whether Fabric Manager gives the GPU out as part of a partition only."""
    return not device.keys().isdisjoint(PARTITIONS.values())


def _share(devices: Sequence[Attributes], name: str) -> bool:
    values = {device.get(name) for device in devices}
    # An attribute that none of them has is no group.
    return len(values) == 1 and values != {None}
