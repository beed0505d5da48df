"""spec.scaling: who sets the number of replicas, and within which bounds."""

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, Duration, rule, rules


class Targets(ApiModel):
    """What an autoscaler keeps each signal at; the signal that asks for most replicas wins."""

    waiting_requests: int = Field(
        default=8,
        ge=1,
        le=100_000,
        description="waitingRequests for each replica: requests in the queue, which it has no room for.",
    )
    kv_utilisation: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description=(
            "kvUtilisation of the KV cache in percent, over all replicas. Needs KEDA. Default: not a signal."
        ),
    )
    latency_p99: Duration | None = Field(
        default=None,
        description=(
            "latencyP99 of requests over five minutes, from submission to the last token. A duration such as "
            "1200ms. Needs KEDA. Default: not a signal."
        ),
        json_schema_extra=rules(rule("duration(self) > duration('0s')", "latencyP99 must be longer than 0s")),
    )


class Scaling(ApiModel):
    """Bounds and targets of an autoscaler that sets spec.replicas through the scale subresource."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                "minReplicas must not be greater than maxReplicas",
                ".minReplicas",
            )
        )
    )

    min_replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description=(
            "minReplicas that the autoscaler never goes below. 0 lets KEDA stop an idle model; only somebody "
            "who sets spec.replicas starts it again, as no pod is left to take in a request."
        ),
    )
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description=(
            "maxReplicas that the autoscaler never goes above. Default: no autoscaler, spec.replicas stays "
            "as it is set. With one: a KEDA ScaledObject where KEDA is installed and the operator knows "
            "Prometheus, else a HorizontalPodAutoscaler where custom.metrics.k8s.io is served."
        ),
    )
    max_gpus: int | None = Field(
        default=None,
        alias="maxGPUs",
        ge=1,
        description=(
            "maxGPUs of all replicas together; there are never more than maxGPUs / gpu.count replicas, "
            "whoever asks for them; a rollout takes those of one more for a while. Default: no limit but the "
            "cluster's own."
        ),
    )
    targets: Targets = Field(
        default=Targets(), description="targets of the signals that the autoscaler follows."
    )

    def most(self, gpus_per_replica: int) -> int | None:
        """The most replicas that maxGPUs allows; None without a limit."""
        return self.max_gpus // gpus_per_replica if self.max_gpus and gpus_per_replica else None
