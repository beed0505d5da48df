"""The HTTPRoute that shares requests out between the revisions, by weight (gateway.networking.k8s.io)."""

from typing import Any

from controllable_operator.api import ControllableModel, Gateway
from controllable_operator.desired.common import metadata
from controllable_operator.desired.deployment import canary_name
from controllable_operator.desired.service import SERVICE_PORT
from controllable_operator.kinds import HTTP_ROUTE


def http_route(model: ControllableModel, gateway: Gateway, canary_weight: int | None) -> dict[str, Any]:
    """The HTTPRoute manifest; `canary_weight` in percent, None where there is no canary."""
    parent = {"name": gateway.name} | ({"namespace": gateway.namespace} if gateway.namespace else {})
    backends = [_backend(model.metadata.name, 100 - (canary_weight or 0))]
    if canary_weight is not None:
        backends.append(_backend(canary_name(model), canary_weight))
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.name,
        "metadata": metadata(model, model.metadata.name),
        "spec": {
            "parentRefs": [parent],
            **({"hostnames": gateway.hostnames} if gateway.hostnames else {}),
            "rules": [{"backendRefs": backends}],
        },
    }


def _backend(service: str, weight: int) -> dict[str, Any]:
    return {"name": service, "port": SERVICE_PORT, "weight": weight}
