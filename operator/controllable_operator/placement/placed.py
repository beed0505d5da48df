"""One model's GPUs: what it asks, what it needs, the plan, and whether pods may be made by it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from controllable_operator.api import ControllableModel, PlacementStatus
from controllable_operator.errors import InvalidSpec, Unplaceable
from controllable_operator.placement.allocated import Allocated
from controllable_operator.placement.ask import Ask
from controllable_operator.placement.capabilities import Gpus, types_told
from controllable_operator.placement.checkpoint import of_uri
from controllable_operator.placement.memory import memory_of
from controllable_operator.placement.plan import Placement
from controllable_operator.placement.planner import plan
from controllable_operator.placement.verdicts import Verdict, fits_memory, shareable, topology_satisfied


@dataclass(frozen=True)
class Placed:
    """What `place` found.

    serving: whether pods answer that were made for the same ask. there: the GPUs of the cluster, for people.
    """

    ask: Ask
    placement: Placement
    fits: Verdict
    serving: bool
    there: str

    @property
    def balance(self) -> str:
        """What is asked for and what is there, for people."""
        linked = " that NVLink connects" if self.ask.nvlink == "required" else ""
        return (
            f"each replica asks for {self.ask.count} GPUs{linked} on one node, and the cluster has "
            f"{self.there}, free or not"
        )

    def check(self) -> None:
        """Pods may be made by this plan.

        Raises:
            InvalidSpec: so many GPUs can't share the model, whatever there is.
            Unplaceable: they would be in vain, or not what is asked for.
        """
        if self.fits[1] == "Indivisible":
            raise InvalidSpec(self.fits[2])
        if self.placement.obstacle:
            raise Unplaceable(f"spec.gpu: {self.placement.obstacle.message}")
        if self.fits[0] is False and not self.serving:
            raise Unplaceable(f"spec.gpu: {self.fits[2]}")

    def verdicts(self, replicas: list[Allocated]) -> dict[str, Verdict]:
        """The conditions about the GPUs."""
        topology = topology_satisfied(self.ask.nvlink, self.placement, replicas)
        return {"TopologySatisfied": topology, "FitsMemory": self.fits}

    def status(self) -> PlacementStatus:
        """status.placement."""
        return PlacementStatus(
            mechanism=self.placement.mechanism,
            level=self.placement.level,
            gpus_per_replica=self.placement.gpus,
            reason=self.placement.reason[:1024],
        )


def place(
    model: ControllableModel,
    gpus: Gpus,
    attribute: str = "",
    before: Iterable[Placement] = (),
    serving: bool = False,
) -> Placed | None:
    """Plan the GPUs of a model, None where it runs on the CPU.

    Args:
        gpus: what there is.
        attribute: the administrator's own, which groups NVLink peers; empty for none.
        before: the plans that the model's pods were made by.
        serving: whether any of them answers.
    """
    if model.spec.gpu.count == 0:
        return None
    need = memory_of(model)
    ask = Ask.of(model.spec.gpu, need.total if need else 0)
    found = plan(ask, gpus, attribute)
    same = next((earlier for earlier in before if earlier.asked == found.asked), None)
    serving = serving and same is not None
    if same and (serving or gpus.silent) and same.rank <= found.rank:
        found = _kept(same, found)
    uri = model.spec.model.uri
    checkpoint = of_uri(uri)
    indivisible = checkpoint and shareable(ask.count, checkpoint)
    fits = indivisible or fits_memory(ask, need, gpus, uri)
    return Placed(ask, found, fits, serving, types_told(gpus.offered))


def _kept(before: Placement, found: Placement) -> Placement:
    """The plan of pods that serve, or of which nobody knows better, where another would be no better.

    A driver that is restarted is gone for a moment, and that is no reason to restart the models.
    """
    if before.to_json() == found.to_json():
        return found
    reason = f"as its pods were made; planned anew, it would be: {found.reason}"
    return replace(before, reason=reason[:1024])
