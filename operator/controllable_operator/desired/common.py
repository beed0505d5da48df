"""What all children have in common: names, labels, owner, hashes."""

import hashlib
import json
from typing import Any

from controllable_operator.api import API_VERSION, KIND, ControllableModel

HTTP_PORT = 8080

MANAGER = "controllable-operator"
NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

ENGINE_CONFIG_HASH = "serving.controllable.dev/engine-config-hash"
# On which side of a rollout a pod is: the label that tells the pods of a canary from the others.
TRACK_LABEL = "serving.controllable.dev/track"
STABLE, CANARY = "stable", "canary"

TEMPLATE_HASH = "serving.controllable.dev/template-hash"


def selector_labels(name: str) -> dict[str, str]:
    """Labels that select the pods of model `name`. They never change: a Deployment's selector can't."""
    return {NAME_LABEL: "controllable-model", INSTANCE_LABEL: name}


def labels(name: str) -> dict[str, str]:
    """Labels of every child of model `name`."""
    return selector_labels(name) | {MANAGED_BY_LABEL: MANAGER}


def label_selector(selected: dict[str, str]) -> str:
    """Labels in the form that the API takes as a query."""
    return ",".join(f"{key}={value}" for key, value in selected.items())


def metadata(model: ControllableModel, name: str) -> dict[str, Any]:
    """Metadata of the child `name`; the garbage collector removes it after its model."""
    return {
        "name": name,
        "namespace": model.metadata.namespace,
        "labels": labels(model.metadata.name),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": model.metadata.name,
                "uid": model.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def content_hash(value: Any) -> str:
    """A short hash of a JSON value, equal for equal values whatever the order of their keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
