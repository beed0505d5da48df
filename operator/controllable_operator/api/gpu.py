"""spec.gpu: the accelerators of one replica."""

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, rule, rules


class Gpu(ApiModel):
    """GPUs of one replica."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.count <= 1", "count must be 0 or 1: this version runs a model on one GPU", ".count")
        )
    )

    count: int = Field(
        default=0,
        ge=0,
        description=(
            "count of NVIDIA GPUs for each replica (resource nvidia.com/gpu). 0 runs the model on the CPU. A "
            "rollout starts the new pod before it stops the old one, so it needs one more GPU for a while."
        ),
    )
