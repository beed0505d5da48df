"""spec.podTemplate: whatever else a pod needs."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from controllable_operator.api.types import ApiModel, rule, rules

_OWN = "'serving.controllable.dev/'"
_SELECTED = "['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/managed-by']"

AnyObject = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]


class PodMetadata(ApiModel):
    """Labels and annotations of the pods."""

    labels: dict[str, str] | None = Field(
        default=None,
        max_length=64,
        description="labels of the pods, beside those that the operator knows its pods by.",
        json_schema_extra=rules(
            rule(
                f"self.all(key, !(key in {_SELECTED}))",
                "app.kubernetes.io/name, instance and managed-by tell whose pods these are; leave them out",
            )
        ),
    )
    annotations: dict[str, str] | None = Field(
        default=None,
        max_length=64,
        description="annotations of the pods.",
        json_schema_extra=rules(
            rule(
                f"self.all(key, !key.startsWith({_OWN}))",
                "annotations of serving.controllable.dev/ are the operator's own",
            )
        ),
    )


class PodTemplate(ApiModel):
    """A part of a pod template, merged over the one that the operator makes."""

    metadata: PodMetadata | None = Field(default=None, description="metadata of the pods.")
    spec: AnyObject | None = Field(
        default=None,
        description=(
            "spec of the pods, in the form of a PodSpec: priorityClassName, nodeSelector, tolerations, "
            "affinity, a sidecar, one more volume. Merged strategically over the operator's, as `kubectl "
            "patch` does: containers, volumes and env by their names; tolerations are added. The containers "
            "fetch, triton and frontend can be changed, not removed. What the API server does not accept "
            "makes Ready False with reason InvalidSpec."
        ),
    )
