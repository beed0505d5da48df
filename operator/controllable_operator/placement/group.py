"""A replica over several nodes of one NVLink clique: how many pods, and how many GPUs each has. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from controllable_operator.placement.capabilities import Nodes


@dataclass(frozen=True)
class Group:
    """The pods of one replica, each on a node of its own. gpus: of each of them."""

    pods: int
    gpus: int


def group(count: int, nodes: Iterable[Nodes]) -> Group | None:
    """The fewest pods with equally many GPUs that a clique has nodes for, None where none has.

    Args:
        count: GPUs of the replica.
        nodes: those whose GPUs will do.
    """
    options = (
        Group(pods, count // pods)
        for item in nodes
        for clique in item.cliques
        for pods in range(2, len(clique) + 1)
        if count % pods == 0 and sum(gpus >= count // pods for gpus in clique) >= pods
    )
    return min(options, key=lambda option: option.pods, default=None)
