"""What a replica asks of its GPUs, in numbers, and which types of GPU meet it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from kubernetes.utils.quantity import parse_quantity

from controllable_operator.api.gpu import Gpu
from controllable_operator.placement.capabilities import GIB, Devices, Nodes, types_told
from controllable_operator.placement.groups import bare
from controllable_operator.placement.node_labels import product_values

# A driver shows less than what a GPU is sold as: 81,559 MiB of the 80 GiB of an H100, and of GDDR memory, of
# which error correction takes a sixteenth, 23,034 MiB of the 24 GiB of an L4.
_SHOWN = 0.92

Offered = TypeVar("Offered", Devices, Nodes)


@dataclass(frozen=True)
class Ask:
    """spec.gpu in numbers.

    memory: bytes that somebody asks for, as the driver shows them. need: bytes that the model needs of each
    GPU; 0 where that is not known.
    """

    count: int
    nvlink: str = "none"
    product: str = ""
    memory: int = 0
    architecture: str = ""
    need: int = 0

    @classmethod
    def of(cls, gpu: Gpu, need: int = 0) -> "Ask":
        """What `gpu` asks for a model that needs so many bytes of each GPU."""
        memory = 0 if gpu.memory is None else int(float(parse_quantity(gpu.memory)) * _SHOWN)
        return cls(
            count=gpu.count,
            nvlink=gpu.nvlink,
            product=gpu.product or "",
            memory=memory,
            architecture=gpu.architecture or "",
            need=need,
        )

    @property
    def key(self) -> str:
        """What a person asks for; pods of another ask are not what is asked for now."""
        return f"{self.count} {self.nvlink} {self.product} {self.memory} {self.architecture}"

    def without_need(self) -> "Ask":
        """The same for a model that needs no memory."""
        return replace(self, need=0)

    def met_by(self, offered: Devices | Nodes) -> bool:
        """Whether such GPUs will do. What the model needs is not held against unknown memory."""
        kind = offered.type
        return (
            (not self.product or self._names(offered))
            and (not self.architecture or kind.architecture == self.architecture)
            and kind.memory >= self.memory
            and (kind.memory == 0 or kind.memory >= self.need)
        )

    def _names(self, offered: Devices | Nodes) -> bool:
        # as the selectors compare: those of devices ignore case, those of nodes can't
        if isinstance(offered, Nodes):
            return offered.type.product in product_values(self.product)
        return bare(offered.type.product) == bare(self.product)

    def fitting(self, offered: Iterable[Offered]) -> list[Offered]:
        """Those of the offered GPUs that will do."""
        return [item for item in offered if self.met_by(item)]

    def unmet(self, offered: list[Devices | Nodes]) -> str | None:
        """Why none of the offered GPUs will do, None if some will. With what is asked, and what is there."""
        steps = (
            ("spec.gpu.product", f"are {self.product}", Ask(self.count, product=self.product)),
            (
                "spec.gpu.architecture",
                f"are of architecture {self.architecture}",
                Ask(self.count, product=self.product, architecture=self.architecture),
            ),
            ("spec.gpu.memory", f"have {self.memory / GIB:.1f} GiB", self.without_need()),
            ("", f"have the {self.need / GIB:.1f} GiB that the model needs", self),
        )
        left: list[Devices | Nodes] = list(offered)
        for field, what, part in steps:
            found = [item for item in left if part.met_by(item)]
            if not found:
                remedy = (
                    f"change {field}, or add such nodes"
                    if field
                    else ("take a GPU with more memory, a smaller precision, or fewer paths and tokens")
                )
                return (
                    f"{self.count} GPUs that {what} are asked for, and 0 are there (there: "
                    f"{types_told(left)}); {remedy}"
                )
            left = found
        return None
