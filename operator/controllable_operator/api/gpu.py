"""spec.gpu: the accelerators of one replica."""

from typing import Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, rule, rules


class Gpu(ApiModel):
    """GPUs of one replica."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.count <= 1 || self.nvlink != 'none'",
                "count of more than 1 needs nvlink: preferred or required, as GPUs that share a model talk "
                "all the time",
                ".nvlink",
            ),
            rule(
                "self.count > 1 || self.nvlink == 'none'",
                "nvlink is between GPUs: set count to 2 or more, or nvlink to none",
                ".nvlink",
            ),
            rule(
                "self.count > 0 || !has(self.product) && !has(self.memory) && !has(self.architecture)",
                "product, memory and architecture are of GPUs: set count to 1 or more",
                ".count",
            ),
        )
    )

    count: int = Field(
        default=0,
        ge=0,
        le=16,
        description=(
            "count of NVIDIA GPUs for each replica, all of them on one node. 0 runs the model on the CPU. "
            "More than one share the model (tensor parallelism), so their number must divide its attention "
            "heads and its key-value heads. A rollout starts the new pod before it stops the old one, so it "
            "needs as many GPUs more for a while."
        ),
    )
    product: str | None = Field(
        default=None,
        max_length=63,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9 ._-]*[A-Za-z0-9])?$",
        description=(
            "product of the GPUs, as the driver or the node label nvidia.com/gpu.product has it, with or "
            "without NVIDIA in front: A100-SXM4-80GB. Default: any."
        ),
    )
    memory: str | None = Field(
        default=None,
        # a plain size: a quantity may be negative, a fraction of a byte, or 1E400
        pattern=r"^[1-9][0-9]{0,5}(Mi|Gi|M|G)$",
        max_length=8,
        description=(
            "memory that each GPU has at least, by its name: 80Gi takes all GPUs that are sold as 80 GB, "
            "though the driver shows a little less. Default: what the model needs, where that is known."
        ),
    )
    architecture: Literal["Volta", "Turing", "Ampere", "Ada Lovelace", "Hopper", "Blackwell"] | None = Field(
        default=None, description="architecture of the GPUs. Default: any."
    )
    nvlink: Literal["none", "preferred", "required"] = Field(
        default="none",
        description=(
            "nvlink between the GPUs of a replica. required: no pod without it; preferred: with it where "
            "that can be had, and the condition TopologySatisfied tells which replica has it."
        ),
    )
