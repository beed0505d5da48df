"""spec.serving: how requests are taken in, and what the pods are made of."""

from typing import Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, Duration, Quantity, rule, rules


class Queue(ApiModel):
    """Where requests wait that the engine has no room for yet."""

    size: int = Field(
        default=256,
        ge=0,
        le=100_000,
        description="size is how many requests may wait; the next one is refused at once.",
    )
    timeout: Duration = Field(
        default="30s",
        description="timeout after which a waiting request is refused. A duration such as 30s or 1m30s.",
        json_schema_extra=rules(rule("duration(self) > duration('0s')", "timeout must be longer than 0s")),
    )


class Resources(ApiModel):
    """Compute resources of the engine's container, in the form of a pod's own `resources`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(!has(self.limits) || !('nvidia.com/gpu' in self.limits)) && "
                "(!has(self.requests) || !('nvidia.com/gpu' in self.requests))",
                "ask for GPUs with spec.gpu.count, not in resources",
            )
        )
    )

    limits: dict[str, Quantity] | None = Field(
        default=None,
        description="limits by resource name. Default: none, as a CPU limit only slows thinking down.",
    )
    requests: dict[str, Quantity] = Field(
        default={"cpu": "100m", "memory": "1Gi"},
        description=(
            "requests by resource name. Default: cpu 100m and memory 1Gi, enough for the embedded nano "
            "model; a bigger model needs the size of its weights and more."
        ),
    )


class Serving(ApiModel):
    """Admission, drain and pod resources."""

    engine: Literal["auto", "native", "vllm"] = Field(
        default="auto",
        description=(
            "engine that computes the model: vllm for GPUs, native for CPUs. Default: auto, which takes vllm "
            "where the pod has a GPU and its image has vLLM, else native."
        ),
    )
    image: str = Field(
        default="",
        max_length=512,
        description=(
            "image of the runtime (tritonserver, engine, frontend). Default: the runtime image that the "
            "operator was installed with."
        ),
    )
    max_concurrent_requests: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="maxConcurrentRequests is how many requests one replica thinks about at once.",
    )
    queue: Queue = Field(
        default=Queue(), description="queue holds the requests beyond maxConcurrentRequests."
    )
    drain_timeout: Duration = Field(
        default="60s",
        description=(
            "drainTimeout is how long running requests may go on when a pod is told to stop; afterwards they "
            "are cancelled. A duration such as 60s or 5m, at most 1h."
        ),
        json_schema_extra=rules(rule("duration(self) <= duration('1h')", "drainTimeout must be at most 1h")),
    )
    resources: Resources = Field(
        default=Resources(),
        description="resources of the container that runs the engine (requests and limits).",
    )
