"""Typed `serving.controllable.dev/v1alpha1`: the only place where the resource's fields are defined."""

from controllable_operator.api.adapter import Adapter
from controllable_operator.api.control import ComputeBudget, Control, PathPruning, Policy
from controllable_operator.api.gpu import Gpu
from controllable_operator.api.model_source import Cache, ModelSource
from controllable_operator.api.monitoring import Monitoring, Range, Slo
from controllable_operator.api.network_policy import NetworkPolicy, Peer
from controllable_operator.api.pod_template import PodMetadata, PodTemplate
from controllable_operator.api.resource import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    ControllableModel,
    Spec,
)
from controllable_operator.api.rollout import Gateway, Rollout, RolloutStatus
from controllable_operator.api.scaling import Scaling, Targets
from controllable_operator.api.serving import Queue, Resources, Serving
from controllable_operator.api.source import SecretRef, Source
from controllable_operator.api.status import (
    Condition,
    ControlStatus,
    Decision,
    Endpoints,
    ModelStatus,
    PlacementStatus,
    ScalingStatus,
    Status,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "Adapter",
    "Cache",
    "ComputeBudget",
    "Condition",
    "Control",
    "ControlStatus",
    "ControllableModel",
    "Decision",
    "Endpoints",
    "Gateway",
    "Gpu",
    "ModelSource",
    "ModelStatus",
    "Monitoring",
    "NetworkPolicy",
    "PathPruning",
    "Peer",
    "PlacementStatus",
    "PodMetadata",
    "PodTemplate",
    "Policy",
    "Queue",
    "Range",
    "Resources",
    "Rollout",
    "RolloutStatus",
    "Scaling",
    "ScalingStatus",
    "SecretRef",
    "Serving",
    "Slo",
    "Source",
    "Spec",
    "Status",
    "Targets",
]
