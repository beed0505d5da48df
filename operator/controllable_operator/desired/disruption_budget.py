"""The PodDisruptionBudget: a drained node takes one replica at a time."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import metadata, selector_labels
from controllable_operator.kinds import DISRUPTION_BUDGET


def disruption_budget(model: ControllableModel) -> dict[str, Any]:
    """The manifest. It is for models of several replicas: with one, it would only block the drain."""
    return {
        "apiVersion": DISRUPTION_BUDGET.api_version,
        "kind": DISRUPTION_BUDGET.name,
        "metadata": metadata(model, model.metadata.name),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector_labels(model.metadata.name)},
            # A pod that serves nobody, as it loads or fails, may go at any time.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
