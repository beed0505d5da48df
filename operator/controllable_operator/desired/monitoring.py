"""How the model is watched: a PodMonitor, a PrometheusRule and the ConfigMap of a dashboard."""

import json
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired.common import INSTANCE_LABEL, content_hash, metadata, selector_labels
from controllable_operator.desired.dashboard import dashboard
from controllable_operator.desired.queries import selector
from controllable_operator.desired.rules import alerts, recordings
from controllable_operator.kinds import CONFIG_MAP, POD_MONITOR, PROMETHEUS_RULE

Manifest = dict[str, Any]


def obstacle(model: ControllableModel, cluster: Cluster) -> tuple[str, str] | None:
    """Reason and message where the model is not to be watched, None where it is."""
    if not model.spec.monitoring.enabled:
        return "Disabled", "spec.monitoring.enabled is false"
    if not cluster.has(POD_MONITOR, PROMETHEUS_RULE):
        return "CRDsMissing", "PodMonitor and PrometheusRule are not there: install Prometheus operator"
    return None


def monitoring(model: ControllableModel, cluster: Cluster) -> list[Manifest]:
    """The manifests; none where there is an obstacle."""
    if obstacle(model, cluster):
        return []
    return [_pod_monitor(model), _prometheus_rule(model), _dashboard(model)]


def _pod_monitor(model: ControllableModel) -> Manifest:
    """Each pod by itself, ready or not: a Service would only tell of those that answer."""
    return {
        "apiVersion": POD_MONITOR.api_version,
        "kind": POD_MONITOR.name,
        "metadata": _metadata(model),
        "spec": {
            "selector": {"matchLabels": selector_labels(model.metadata.name)},
            "podTargetLabels": [INSTANCE_LABEL],
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
        },
    }


def _prometheus_rule(model: ControllableModel) -> Manifest:
    labels = {"namespace": model.metadata.namespace, "model": model.metadata.name}
    return {
        "apiVersion": PROMETHEUS_RULE.api_version,
        "kind": PROMETHEUS_RULE.name,
        "metadata": _metadata(model),
        "spec": {
            "groups": [
                {"name": "recordings", "rules": recordings(selector(model), labels)},
                {"name": "alerts", "rules": alerts(model)},
            ]
        },
    }


def _dashboard(model: ControllableModel) -> Manifest:
    namespace, name = model.metadata.namespace, model.metadata.name
    document = dashboard(
        title=f"ControllableModel {namespace}/{name}",
        uid=f"cmodel-{content_hash([namespace, name])}",
        select=selector(model),
        slo=model.spec.monitoring.slo,
    )
    meta = metadata(model, f"{name}-dashboard")
    meta["labels"] |= {"grafana_dashboard": "1"}
    text = json.dumps(document, indent=2) + "\n"
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": meta,
        # Grafana's sidecar puts all files of a cluster into one folder.
        "data": {f"{namespace}-{name}.json": text},
    }


def _metadata(model: ControllableModel) -> Manifest:
    meta = metadata(model, model.metadata.name)
    return meta | {"labels": (model.spec.monitoring.labels or {}) | meta["labels"]}
