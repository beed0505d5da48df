"""The NetworkPolicy in front of the pods."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import HTTP_PORT, metadata, selector_labels


def network_policy(model: ControllableModel) -> dict[str, Any]:
    """The NetworkPolicy manifest: the HTTP port only, from those allowed, by default from this namespace.

    Traffic out of the pods stays free: weights come from wherever the uri says. The port is a number, as
    enforcers differ in how well they resolve names.
    """
    allowed = [peer.to_json() for peer in model.spec.network_policy.allow_from] or [{"podSelector": {}}]
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
