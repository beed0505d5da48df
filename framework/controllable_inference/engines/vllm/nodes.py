"""Several nodes that share one model: where this process is among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIZE, INDEX, LEADER = "LWS_GROUP_SIZE", "LWS_WORKER_INDEX", "LWS_LEADER_ADDRESS"
"""Environment variables that LeaderWorkerSet gives each pod of a group."""


@dataclass(frozen=True)
class Nodes:
    """count: how many share the model. rank: of this one, 0 for the leader, which schedules and serves.

    leader: its address.
    """

    count: int = 1
    rank: int = 0
    leader: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Nodes:
        """Raises ValueError for variables that are no numbers."""
        if int(environ.get(SIZE, "1")) <= 1:
            return cls()
        return cls(int(environ[SIZE]), int(environ.get(INDEX, "0")), environ[LEADER])

    def arguments(self) -> dict[str, Any]:
        """What vLLM is told of it."""
        if self.count == 1:
            return {}
        return {
            "nnodes": self.count,
            "node_rank": self.rank,
            "master_addr": self.leader,
            "distributed_executor_backend": "mp",
        }
