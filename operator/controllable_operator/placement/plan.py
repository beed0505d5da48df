"""How a replica's GPUs are asked for: what the planner decides, and what stands on the pods."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

Mechanism = Literal["DRA", "DevicePlugin", "ComputeDomain"]
Level = Literal["NVLinkPartition", "NVSwitchNode", "NVLinkClique", "PCIeRoot", "NUMANode", "Node"]

# From the closest to the loosest.
_LEVELS: tuple[Level, ...] = (
    "NVLinkPartition",
    "NVSwitchNode",
    "NVLinkClique",
    "PCIeRoot",
    "NUMANode",
    "Node",
)
NVLINK_LEVELS = frozenset(_LEVELS[:3])


@dataclass(frozen=True)
class Obstacle:
    """Why no pod is to be made: reason and message of the condition TopologySatisfied."""

    reason: str
    message: str


@dataclass(frozen=True)
class Placement:
    """A plan for every replica of a model.

    mechanism: who chooses the GPUs. level: what connects them, if the plan comes true. attribute: the one
    that all of them share, for DRA. also: other attributes that will do as well, "" for whole boards with
    NVSwitch. asked: what it was planned for. fallback: whether any GPUs will do where those can't be had.
    reason: why this plan, for people. obstacle: why it must not be carried out.
    """

    mechanism: Mechanism
    level: Level
    gpus: int
    attribute: str = ""
    also: tuple[str, ...] = ()
    asked: str = ""
    fallback: bool = False
    reason: str = ""
    obstacle: Obstacle | None = None

    @property
    def has_nvlink(self) -> bool:
        """Whether NVLink connects the GPUs, if the plan comes true."""
        return self.level in NVLINK_LEVELS

    @property
    def ways(self) -> list["Placement"]:
        """The plans that it consists of, the best first: any of them will do."""
        one = replace(self, also=(), fallback=False)
        others = [
            replace(one, level="NVLinkPartition" if name else "NVSwitchNode", attribute=name)
            for name in self.also
        ]
        return [one, *others]

    @property
    def rank(self) -> int:
        """0 is the best: any way to NVLink, as one is as good as the other."""
        if self.obstacle:
            return len(_LEVELS)
        return 0 if self.has_nvlink else _LEVELS.index(self.level)

    def to_json(self) -> dict[str, Any]:
        """What stands on the pods; `of_json` reads it."""
        found = {key: value for key, value in asdict(self).items() if key not in {"reason", "obstacle"}}
        # as it stands on pods of earlier versions, so that what they claim is the same
        return found if self.also else {key: value for key, value in found.items() if key != "also"}

    @classmethod
    def of_json(cls, document: dict[str, Any]) -> "Placement":
        """The plan that pods were made by."""
        # a later version may know more of a plan
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        return cls(**known | {"also": tuple(known.get("also", ()))})
