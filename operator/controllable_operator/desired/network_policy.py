"""The NetworkPolicy in front of the pods."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import HTTP_PORT, MANAGER, NAME_LABEL, metadata, selector_labels
from controllable_operator.settings import Settings


def network_policy(model: ControllableModel, settings: Settings) -> dict[str, Any]:
    """The NetworkPolicy manifest: the HTTP port only, from those allowed, by default from this namespace.

    Traffic out of the pods stays free: weights come from wherever the uri says. The port is a number, as
    enforcers differ in how well they resolve names. The operator reads the metrics of a canary there.
    """
    allowed = [peer.to_json() for peer in model.spec.network_policy.allow_from] or [{"podSelector": {}}]
    if model.spec.rollout.strategy == "Canary" and settings.namespace:
        allowed.append(_operator(settings.namespace))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(model, model.metadata.name),
        "spec": {
            "podSelector": {"matchLabels": selector_labels(model.metadata.name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": allowed, "ports": [{"protocol": "TCP", "port": HTTP_PORT}]}],
        },
    }


def _operator(namespace: str) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {NAME_LABEL: MANAGER}},
    }
