"""The ConfigMap with engine.json, the one document that passes from the operator to the engine.

Each text has a ConfigMap of its own: a pod of an older revision that starts anew must find the configuration
that it was made for, not the newest one.
"""

import json
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.api.types import seconds
from controllable_operator.desired.common import content_hash, metadata
from controllable_operator.desired.weights import adapter_path, model_path

ENGINE_FILE = "engine.json"


def engine_config(model: ControllableModel) -> dict[str, Any]:
    """The content of engine.json, valid against schemas/engine.schema.json."""
    serving, gpus = model.spec.serving, model.spec.gpu.count
    adapters = [
        {
            "name": adapter.name,
            "domain": adapter.domain or adapter.name,
            "path": adapter_path(model, adapter),
            "specialTokens": adapter.special_tokens,
            "budgetScale": adapter.budget_scale,
        }
        for adapter in model.spec.model.adapters
    ]
    # Only where they say something: pods of before they were there would be made anew for a 1, or for none.
    newer: dict[str, Any] = {"tensorParallel": gpus} if gpus > 1 else {}
    newer |= {"adapters": adapters} if adapters else {}
    newer |= {"engine": serving.engine} if serving.engine != "auto" else {}
    return {
        "model": {
            "name": model.metadata.name,
            "path": model_path(model),
            "precision": model.spec.model.precision,
            **newer,
        },
        "control": model.spec.control.to_json(),
        "serving": {
            "maxConcurrentRequests": serving.max_concurrent_requests,
            "queue": {"size": serving.queue.size, "timeoutSeconds": seconds(serving.queue.timeout)},
            "drainTimeoutSeconds": seconds(serving.drain_timeout),
        },
    }


def engine_text(model: ControllableModel) -> str:
    """The text of engine.json."""
    return json.dumps(engine_config(model), indent=2, sort_keys=True) + "\n"


def name_of(model: ControllableModel, engine: str) -> str:
    """Name of the ConfigMap with this text of engine.json."""
    return f"{model.metadata.name}-engine-{content_hash(engine)}"


def config_map(model: ControllableModel, engine: str) -> dict[str, Any]:
    """The ConfigMap manifest for a text of engine.json."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(model, name_of(model, engine)),
        "immutable": True,
        "data": {ENGINE_FILE: engine},
    }
