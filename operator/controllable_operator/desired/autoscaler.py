"""Who sets the model's replicas: a KEDA ScaledObject, else a HorizontalPodAutoscaler, else nobody.

Both write spec.replicas through the scale subresource of the ControllableModel, as `kubectl scale` does. The
operator only ever reads it, so there is nobody to fight.
"""

from typing import Any, NamedTuple

from controllable_operator.api import API_VERSION, KIND, ControllableModel
from controllable_operator.api.types import seconds
from controllable_operator.cluster import Cluster
from controllable_operator.desired import queries
from controllable_operator.desired.common import metadata
from controllable_operator.kinds import AUTOSCALER, SCALED_OBJECT
from controllable_operator.settings import Settings


class Signal(NamedTuple):
    """A trigger of KEDA. kind: Value is shared by all replicas, AverageValue is each replica's own part."""

    name: str
    query: str
    target: float
    kind: str


def obstacle(model: ControllableModel, settings: Settings, cluster: Cluster) -> tuple[str, str] | None:
    """Reason and message where there is to be no autoscaler, None where there is."""
    if model.spec.suspend:
        return "Disabled", "the model is suspended"
    if model.spec.scaling.max_replicas is None:
        return "Disabled", "spec.replicas is as it was set; set spec.scaling.maxReplicas for an autoscaler"
    if _with_keda(settings, cluster) or cluster.custom_metrics:
        return None
    if cluster.has(SCALED_OBJECT):
        return "MetricsUnavailable", (
            "KEDA is there, but the operator does not know where Prometheus is: install it with "
            "prometheus.url (its Helm chart)"
        )
    return "MetricsUnavailable", (
        "nothing brings an autoscaler the pods' metrics: install KEDA, or an adapter that serves "
        "custom.metrics.k8s.io"
    )


def autoscaler(model: ControllableModel, settings: Settings, cluster: Cluster) -> dict[str, Any] | None:
    """The manifest of the autoscaler, None where there is an obstacle."""
    if obstacle(model, settings, cluster):
        return None
    if _with_keda(settings, cluster):
        return _scaled_object(model, settings.prometheus_url)
    return _horizontal_pod_autoscaler(model)


def max_replicas(model: ControllableModel) -> int:
    """The autoscaler's upper bound: maxReplicas, or less where maxGPUs is not enough for so many."""
    wanted = model.spec.scaling.max_replicas or model.spec.replicas
    most = model.spec.scaling.most(model.spec.gpu.count)
    return wanted if most is None else min(wanted, most)


def signals(model: ControllableModel) -> list[Signal]:
    """What KEDA looks at, in the order of its triggers."""
    targets, select = model.spec.scaling.targets, queries.selector(model)
    found = [Signal("waitingRequests", queries.waiting(select), targets.waiting_requests, "AverageValue")]
    if targets.kv_utilisation is not None:
        percent = f"100 * {queries.kv_utilisation(select)}"
        found.append(Signal("kvUtilisation", percent, targets.kv_utilisation, "Value"))
    if targets.latency_p99 is not None:
        latency = queries.latency_p99(select)
        found.append(Signal("latencyP99", latency, seconds(targets.latency_p99), "Value"))
    if model.spec.scaling.min_replicas == 0:
        # Without it a model that has room for all its requests, and so none waiting, would look idle.
        each = model.spec.serving.max_concurrent_requests
        found.append(Signal("inFlight", queries.in_flight(select), each, "AverageValue"))
    return found


def _with_keda(settings: Settings, cluster: Cluster) -> bool:
    return cluster.has(SCALED_OBJECT) and bool(settings.prometheus_url)


def _scaled_object(model: ControllableModel, prometheus_url: str) -> dict[str, Any]:
    return {
        "apiVersion": SCALED_OBJECT.api_version,
        "kind": SCALED_OBJECT.name,
        "metadata": metadata(model, model.metadata.name),
        "spec": {
            "scaleTargetRef": _target(model),
            "minReplicaCount": _keda_minimum(model),
            "maxReplicaCount": max_replicas(model),
            "triggers": [
                {
                    "type": "prometheus",
                    "name": signal.name,
                    "metricType": signal.kind,
                    "metadata": {
                        "serverAddress": prometheus_url,
                        "query": signal.query,
                        "threshold": f"{signal.target:g}",
                    },
                }
                for signal in signals(model)
            ],
        },
    }


def _keda_minimum(model: ControllableModel) -> int:
    # KEDA takes a model that was started by hand for idle at once, and loading takes longer than it waits.
    coming_up = model.spec.replicas > 0 and not model.status.is_true("ModelLoaded")
    return max(model.spec.scaling.min_replicas, 1) if coming_up else model.spec.scaling.min_replicas


def _horizontal_pod_autoscaler(model: ControllableModel) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": str(model.spec.scaling.targets.waiting_requests)}
    meta = metadata(model, model.metadata.name)
    # Should KEDA come, its webhook would refuse the ScaledObject that takes this one's place.
    meta["annotations"] = {"validations.keda.sh/hpa-ownership": "false"}
    return {
        "apiVersion": AUTOSCALER.api_version,
        "kind": AUTOSCALER.name,
        "metadata": meta,
        "spec": {
            "scaleTargetRef": _target(model),
            "minReplicas": max(model.spec.scaling.min_replicas, 1),
            "maxReplicas": max_replicas(model),
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": queries.WAITING}, "target": target}}],
        },
    }


def _target(model: ControllableModel) -> dict[str, str]:
    return {"apiVersion": API_VERSION, "kind": KIND, "name": model.metadata.name}
