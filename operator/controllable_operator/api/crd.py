"""The CustomResourceDefinition, built from the typed API."""

from typing import Any

from controllable_operator.api.resource import GROUP, KIND, PLURAL, VERSION, Spec
from controllable_operator.api.schema import structural
from controllable_operator.api.status import Status
from controllable_operator.api.types import rule

_DESCRIPTION = (
    "ControllableModel is a reasoning model served by NVIDIA Triton whose thinking is kept under control: "
    "paths that lead nowhere are pruned, and every request gets a compute budget."
)

# Child objects are named after the model, and a Service's name must be a DNS label of at most 63 characters.
_NAME_RULE = rule(
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 50",
    "metadata.name must start with a letter, hold only lower-case letters, digits and '-', "
    "and be at most 50 characters long: a Service gets the same name",
)

_ADAPTER_RULE = rule(
    "self.spec.model.adapters.all(adapter, adapter.name != self.metadata.name)",
    "an adapter must not have the model's own name: requests that give that name get no adapter",
    ".spec.model.adapters",
)


def _column(
    name: str, path: str, description: str, kind: str = "string", priority: int = 0
) -> dict[str, Any]:
    """A column of `kubectl get`; with priority 1 only of `kubectl get -o wide`."""
    return {"name": name, "type": kind, "jsonPath": path, "description": description, "priority": priority}


def custom_resource_definition() -> dict[str, Any]:
    """The manifest that `crds/` and the chart `controllable-crds` hold."""
    root = {
        "description": _DESCRIPTION,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": "apiVersion of this resource.", "type": "string"},
            "kind": {"description": "kind of this resource.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(Spec) | {"description": "spec says what is asked for."},
            "status": structural(Status)
            | {
                "description": "status says what is so.",
                # By kstatus (Flux, Helm) a resource without a status is as it was asked for.
                "default": {"observedGeneration": -1},
            },
        },
        "x-kubernetes-validations": [_NAME_RULE, _ADAPTER_RULE],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["cmodel"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        _column(
                            "Ready", '.status.conditions[?(@.type=="Ready")].status', "Serves as asked for"
                        ),
                        _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why, or why not"),
                        _column("Replicas", ".status.readyReplicas", "Pods that answer requests", "integer"),
                        _column("Rollout", ".status.rollout.state", "How far the newest revision got"),
                        _column(
                            "Weight",
                            ".status.rollout.weight",
                            "Percent of the requests it gets",
                            "integer",
                            1,
                        ),
                        _column("Model", ".spec.model.uri", "Where the weights come from"),
                        _column("Paths pruned", ".status.control.pathPruningRate", "Share, over 5 minutes"),
                        _column("P99", ".status.control.latencyP99", "Latency of requests, over 5 minutes"),
                        _column(
                            "Placement", ".status.placement.level", "What connects the GPUs of a replica"
                        ),
                        _column("Age", ".metadata.creationTimestamp", "Time since creation", "date"),
                    ],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }
