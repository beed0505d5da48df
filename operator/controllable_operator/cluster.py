"""What the cluster offers beyond Kubernetes itself."""

from dataclasses import dataclass, field

from controllable_operator.kinds import Kind
from controllable_operator.placement.capabilities import Gpus


@dataclass(frozen=True)
class Cluster:
    """What is served, as a value.

    kinds: those of `OPTIONAL_KINDS` that are. custom_metrics: whether autoscalers get pods' metrics. gpus:
    what accelerators there are.
    """

    kinds: frozenset[Kind] = frozenset()
    custom_metrics: bool = False
    gpus: Gpus = field(default_factory=Gpus)

    def has(self, *kinds: Kind) -> bool:
        """Whether all of these are served."""
        return self.kinds.issuperset(kinds)

    def told(self) -> str:
        """What is served, for people."""
        names = sorted(kind.name for kind in self.kinds) + ["pods' metrics"] * self.custom_metrics
        return ", ".join(names) or "none of the optional kinds"
