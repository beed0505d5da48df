"""What should exist for a model: one pure builder for each kind of child."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired.autoscaler import autoscaler
from controllable_operator.desired.config_map import config_map
from controllable_operator.desired.deployment import deployment
from controllable_operator.desired.disruption_budget import disruption_budget
from controllable_operator.desired.monitoring import monitoring
from controllable_operator.desired.network_policy import network_policy
from controllable_operator.desired.service import service
from controllable_operator.settings import Settings

Manifest = dict[str, Any]


def desired(model: ControllableModel, settings: Settings, cluster: Cluster) -> list[Manifest]:
    """All children of `model`, in the order in which they are to be applied.

    What pods need is there before the pods: their configuration, and the policy that guards them.

    Raises:
        InvalidSpec: no pods can be made from this spec.
    """
    guard = [network_policy(model)] if model.spec.network_policy.enabled else []
    scaler = autoscaler(model, settings, cluster)
    return [
        config_map(model),
        *guard,
        service(model),
        deployment(model, settings),
        *([disruption_budget(model)] if model.spec.wanted_replicas > 1 else []),
        *monitoring(model, cluster),
        *([scaler] if scaler else []),
    ]
