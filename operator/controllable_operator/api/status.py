"""status: what the operator found out. Conditions are for machines, phase is for people."""

from typing import Literal

from pydantic import Field

from controllable_operator.api.rollout import RolloutStatus
from controllable_operator.api.types import ApiModel


class Condition(ApiModel):
    """One condition, in the form that all of Kubernetes uses."""

    type: str = Field(
        max_length=316,
        description="type of the condition, such as Ready, ModelLoaded, ScalingActive, Stalled or Contested.",
    )
    status: Literal["True", "False", "Unknown"] = Field(
        description="status of the condition: True, False or Unknown."
    )
    observed_generation: int = Field(
        ge=0,
        description="observedGeneration is the metadata.generation that this condition was found out about.",
        json_schema_extra={"format": "int64"},
    )
    last_transition_time: str = Field(
        description="lastTransitionTime is when status last changed.",
        json_schema_extra={"format": "date-time"},
    )
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="reason for the status, one word for machines.",
    )
    message: str = Field(
        max_length=32768, description="message for people: what is so, and what to do about it."
    )


class Endpoints(ApiModel):
    """Addresses inside the cluster."""

    openai: str = Field(description="openai is the base URL for OpenAI clients.")
    metrics: str = Field(description="metrics is where Prometheus finds the metrics of one of the pods.")


class PlacementStatus(ApiModel):
    """How the GPUs of each replica are asked for."""

    mechanism: str = Field(
        max_length=64, description="mechanism that chooses the GPUs: DRA, DevicePlugin or ComputeDomain."
    )
    level: str = Field(
        max_length=64,
        description=(
            "level of what connects them, if the plan comes true: NVLinkPartition, NVSwitchNode, "
            "NVLinkClique, PCIeRoot, NUMANode or Node. The condition TopologySatisfied tells whether it did."
        ),
    )
    gpus_per_replica: int = Field(ge=1, description="gpusPerReplica that are asked for.")
    reason: str = Field(max_length=1024, description="reason for people: why this mechanism and level.")


class ModelStatus(ApiModel):
    """The weights that the newest generation serves, as fetch found them."""

    digest: str = Field(
        max_length=80,
        description="digest of the weights, in the form of spec.model.digest: written there, it pins them.",
    )
    size: int = Field(
        alias="bytes", ge=0, description="bytes on disk.", json_schema_extra={"format": "int64"}
    )


class Decision(ApiModel):
    """One change of the number of replicas by the autoscaler."""

    signal: str = Field(
        max_length=64,
        description="signal that decided: waitingRequests, kvUtilisation, latencyP99 or inFlight.",
    )
    from_: int | None = Field(
        default=None, alias="from", ge=0, description="from how many replicas, where that was seen."
    )
    to: int = Field(ge=0, description="to how many replicas.")
    reason: str = Field(max_length=1024, description="reason for people: the signal and its target.")
    time: str = Field(
        description="time at which the autoscaler set the replicas.",
        json_schema_extra={"format": "date-time"},
    )


class ScalingStatus(ApiModel):
    """What the autoscaler did."""

    decisions: list[Decision] | None = Field(
        default=None,
        max_length=5,
        description="decisions of the autoscaler, the last five, the newest last.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class ControlStatus(ApiModel):
    """What the control comes to over all replicas, as Prometheus has measured it."""

    path_pruning_rate: str | None = Field(
        default=None, description="pathPruningRate is the share of the ended paths that were pruned."
    )
    budget_utilisation: str | None = Field(
        default=None, description="budgetUtilisation is the share of the granted tokens that were used."
    )
    latency_p99: str | None = Field(
        default=None, description="latencyP99 of requests, from submission to the last token."
    )
    window: str = Field(description="window of time that was measured.")


class Status(ApiModel):
    """What is known about the model's pods."""

    observed_generation: int | None = Field(
        default=None,
        ge=-1,
        description=(
            "observedGeneration is the newest metadata.generation that was really reconciled; -1 until the "
            "operator has seen the model."
        ),
        json_schema_extra={"format": "int64"},
    )
    phase: str | None = Field(
        default=None,
        description=(
            "phase for people: Pending, Fetching, Loading, Ready, Updating, Degraded, RolledBack, Failed, "
            "ScaledToZero (spec.replicas is 0, whoever set it) or Suspended (spec.suspend is true). Machines "
            "read conditions."
        ),
    )
    replicas: int | None = Field(
        default=None, ge=0, description="replicas that exist, of this generation or an older one."
    )
    ready_replicas: int | None = Field(
        default=None, ge=0, description="readyReplicas is how many of them answer requests."
    )
    selector: str | None = Field(
        default=None, description="selector of the model's pods, for the scale subresource."
    )
    model: ModelStatus | None = Field(
        default=None,
        description=(
            "model that was fetched. Absent until a pod has fetched it, and where it is only mounted and "
            "nobody asked for a digest."
        ),
    )
    endpoints: Endpoints | None = Field(default=None, description="endpoints inside the cluster.")
    scaling: ScalingStatus | None = Field(
        default=None, description="scaling tells what the autoscaler did; absent while there is none."
    )
    control: ControlStatus | None = Field(
        default=None,
        description=(
            "control tells what was measured in the last minutes; absent where the operator was not told of "
            "a Prometheus, the model is not monitored, or nothing was served."
        ),
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="rollout tells how far the newest revision of the pods got."
    )
    placement: PlacementStatus | None = Field(
        default=None, description="placement of the GPUs; absent for a model that runs on the CPU."
    )
    conditions: list[Condition] | None = Field(
        default=None,
        description=(
            "conditions of the model. Ready: the newest generation serves on as many pods as asked for. "
            "ModelLoaded: the model answers in every pod of the newest generation. Only there when True: "
            "Stalled, nothing will change until somebody acts; Contested, somebody else keeps changing back "
            "what the operator repairs."
        ),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )

    def is_true(self, condition: str) -> bool:
        """Whether the condition of this type is there and True."""
        return any(c.type == condition and c.status == "True" for c in self.conditions or [])
