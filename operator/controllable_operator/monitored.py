"""Whether the model is watched, as its status tells it. Pure."""

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired.monitoring import obstacle
from controllable_operator.status import Verdict


def monitored(model: ControllableModel, cluster: Cluster) -> Verdict:
    """The condition Monitored, of a model whose children have been applied."""
    if reason := obstacle(model, cluster):
        return False, *reason
    message = "a PodMonitor, a PrometheusRule and a dashboard are there"
    if model.spec.network_policy.enabled and not model.spec.network_policy.allow_from:
        message += "; spec.networkPolicy.allowFrom lets in this namespace only: name Prometheus there"
    return True, "Monitored", message
