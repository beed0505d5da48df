"""The ConfigMap with engine.json, the one document that passes from the operator to the engine."""

import json
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.api.types import seconds
from controllable_operator.desired.common import metadata

ENGINE_FILE = "engine.json"
MODEL_PATH = "/weights/model"


def name_of(model: ControllableModel) -> str:
    """Name of the model's ConfigMap."""
    return f"{model.metadata.name}-engine"


def engine_config(model: ControllableModel) -> dict[str, Any]:
    """The content of engine.json, valid against schemas/engine.schema.json."""
    serving = model.spec.serving
    return {
        "model": {
            "name": model.metadata.name,
            "path": MODEL_PATH,
            "precision": model.spec.model.precision,
        },
        "control": model.spec.control.to_json(),
        "serving": {
            "maxConcurrentRequests": serving.max_concurrent_requests,
            "queue": {"size": serving.queue.size, "timeoutSeconds": seconds(serving.queue.timeout)},
            "drainTimeoutSeconds": seconds(serving.drain_timeout),
        },
    }


def config_map(model: ControllableModel) -> dict[str, Any]:
    """The ConfigMap manifest."""
    text = json.dumps(engine_config(model), indent=2, sort_keys=True) + "\n"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(model, name_of(model)),
        "data": {ENGINE_FILE: text},
    }
