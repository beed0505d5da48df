"""The Services in front of the model's pods."""

from typing import Any

from controllable_operator.api import ControllableModel, Endpoints
from controllable_operator.desired.common import CANARY, STABLE, TRACK_LABEL, metadata, selector_labels
from controllable_operator.desired.deployment import canary_name

SERVICE_PORT = 80


def service(model: ControllableModel, only_stable: bool = False) -> dict[str, Any]:
    """The Service that clients talk to; `only_stable`: where something else shares requests with a canary."""
    return _service(model, model.metadata.name, {TRACK_LABEL: STABLE} if only_stable else {})


def canary_service(model: ControllableModel) -> dict[str, Any]:
    """The Service of the canary's pods alone."""
    return _service(model, canary_name(model), {TRACK_LABEL: CANARY})


def _service(model: ControllableModel, name: str, track: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(model, name),
        "spec": {
            "type": "ClusterIP",
            "selector": selector_labels(model.metadata.name) | track,
            # Port 80, to the frontends' port http.
            "ports": [{"name": "http", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def endpoints(model: ControllableModel) -> Endpoints:
    """Addresses behind the Service, from inside the cluster."""
    host = f"http://{model.metadata.name}.{model.metadata.namespace}.svc"
    return Endpoints(openai=f"{host}/v1", metrics=f"{host}/metrics")
