"""The ControllableModel resource as a whole."""

from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from controllable_operator.api.control import Control
from controllable_operator.api.gpu import Gpu
from controllable_operator.api.model_source import ModelSource
from controllable_operator.api.monitoring import Monitoring
from controllable_operator.api.network_policy import NetworkPolicy
from controllable_operator.api.pod_template import PodTemplate
from controllable_operator.api.rollout import Rollout
from controllable_operator.api.scaling import Scaling
from controllable_operator.api.serving import Serving
from controllable_operator.api.status import Status
from controllable_operator.api.types import ApiModel, rule, rules
from controllable_operator.errors import InvalidSpec

GROUP = "serving.controllable.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ControllableModel"
PLURAL = "controllablemodels"


class Metadata(ApiModel):
    """The part of metadata that the operator reads."""

    name: str
    namespace: str
    uid: str
    generation: int
    deletion_timestamp: str | None = None


class Spec(ApiModel):
    """What a person asks for."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.scaling.maxGPUs) || self.gpu.count <= self.scaling.maxGPUs && "
                "self.gpu.count * self.scaling.minReplicas <= self.scaling.maxGPUs",
                "scaling.maxGPUs must be enough for one replica, and for scaling.minReplicas of them",
                ".scaling.maxGPUs",
            ),
            rule(
                "size(self.model.adapters) == 0 || self.gpu.count <= 1",
                "adapters need gpu.count to be 1 or 0: a model that several GPUs share takes none",
                ".model.adapters",
            ),
        )
    )

    model: ModelSource = Field(description="model says where the weights come from.")
    control: Control = Field(
        default=Control(), description="control of the thinking: path pruning and compute budget."
    )
    serving: Serving = Field(
        default=Serving(), description="serving says how requests are taken in, and on what."
    )
    gpu: Gpu = Field(
        default=Gpu(), description="gpu of each replica. Default: none, the model runs on the CPU."
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description=(
            "replicas of the model; `kubectl scale` sets it, and so does an autoscaler: with "
            "spec.scaling.maxReplicas, leave it out of what is applied again and again. 0 stops the model "
            "and keeps the rest."
        ),
        json_schema_extra={"format": "int32"},
    )
    suspend: bool = Field(
        default=False,
        description=(
            "suspend stops all pods and the autoscaler, and keeps everything else. Off again, the model goes "
            "on with the replicas it had."
        ),
    )
    scaling: Scaling = Field(
        default=Scaling(), description="scaling lets an autoscaler set the replicas, within bounds."
    )
    monitoring: Monitoring = Field(
        default=Monitoring(),
        description="monitoring of the model, where the cluster has Prometheus operator.",
    )
    rollout: Rollout = Field(
        default=Rollout(),
        description="rollout says how a changed model takes the place of the one that serves.",
    )
    network_policy: NetworkPolicy = Field(
        default=NetworkPolicy(),
        description="networkPolicy says who may reach the model. Default: pods of this namespace.",
    )

    pod_template: PodTemplate | None = Field(
        default=None,
        description="podTemplate is merged over the pod template that the operator makes.",
    )

    @property
    def wanted_replicas(self) -> int:
        """How many pods there should be: `replicas`, within what suspension and scaling allow."""
        if self.suspend or self.replicas == 0:
            return 0
        least = self.scaling.min_replicas if self.scaling.max_replicas else 1
        most = self.scaling.most(self.gpu.count)
        wanted = max(self.replicas, least)
        return wanted if most is None else min(wanted, most)


class ControllableModel(ApiModel):
    """A reasoning model, served by Triton and kept under control."""

    model_config = ConfigDict(protected_namespaces=())

    metadata: Metadata
    spec: Spec
    status: Status = Status()

    @classmethod
    def parse(cls, manifest: dict[str, Any]) -> "ControllableModel":
        """The typed resource.

        Raises:
            InvalidSpec: the API server holds what this operator can't read (say, of a newer version).
        """
        try:
            return cls.model_validate(manifest)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in first["loc"])
            raise InvalidSpec(f"{path}: {first['msg']}") from error
