"""The Service that clients talk to."""

from typing import Any

from controllable_operator.api import ControllableModel, Endpoints
from controllable_operator.desired.common import metadata, selector_labels


def service(model: ControllableModel) -> dict[str, Any]:
    """The Service manifest: port 80 to the frontends' port http."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(model, model.metadata.name),
        "spec": {
            "type": "ClusterIP",
            "selector": selector_labels(model.metadata.name),
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def endpoints(model: ControllableModel) -> Endpoints:
    """Addresses behind the Service, from inside the cluster."""
    host = f"http://{model.metadata.name}.{model.metadata.namespace}.svc"
    return Endpoints(openai=f"{host}/v1", metrics=f"{host}/metrics")
