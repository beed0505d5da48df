"""The Deployment of the model's pods."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import (
    ENGINE_CONFIG_HASH,
    TEMPLATE_HASH,
    content_hash,
    labels,
    metadata,
    selector_labels,
)
from controllable_operator.desired.config_map import engine_config
from controllable_operator.desired.pod import STARTUP_SECONDS, pod_spec
from controllable_operator.errors import InvalidSpec
from controllable_operator.settings import Settings
from controllable_operator.strategic_merge import merged


def pod_template(model: ControllableModel, settings: Settings) -> dict[str, Any]:
    """The pod template. Its hash stands on every pod, so that a pod tells which generation it serves.

    Raises:
        InvalidSpec: neither the model nor the operator names an image, or spec.podTemplate does not fit.
    """
    image = model.spec.serving.image or settings.runtime_image
    if not image:
        raise InvalidSpec(
            "spec.serving.image: no runtime image; name one here, "
            "or install the operator with one (runtime.image in its Helm chart)"
        )
    template = _customised(
        model,
        {
            "metadata": {
                "labels": labels(model.metadata.name),
                # The engine reads its configuration once, so a change of it has to make new pods.
                "annotations": {ENGINE_CONFIG_HASH: content_hash(engine_config(model))},
            },
            "spec": pod_spec(model, image),
        },
    )
    template["metadata"]["annotations"][TEMPLATE_HASH] = content_hash(template)
    return template


def _customised(model: ControllableModel, template: dict[str, Any]) -> dict[str, Any]:
    """`template` with spec.podTemplate over it."""
    if model.spec.pod_template is None:
        return template
    try:
        result: dict[str, Any] = merged(template, model.spec.pod_template.to_json(), "spec.podTemplate")
    except ValueError as error:
        raise InvalidSpec(str(error)) from error
    for field in ("initContainers", "containers"):
        kept = {container["name"] for container in result["spec"].get(field) or []}
        if lost := [c["name"] for c in template["spec"][field] if c["name"] not in kept]:
            raise InvalidSpec(
                f"spec.podTemplate.spec.{field}: {', '.join(lost)} must stay; nothing is served without it"
            )
    return result


def template_hash(manifest: dict[str, Any]) -> str | None:
    """The template hash that a pod or a pod template carries, None for one that isn't ours."""
    return manifest["metadata"].get("annotations", {}).get(TEMPLATE_HASH)


def deployment(model: ControllableModel, settings: Settings) -> dict[str, Any]:
    """The Deployment manifest. A rollout never has fewer pods serving than asked for.

    Raises:
        InvalidSpec: see `pod_template`.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(model, model.metadata.name),
        "spec": {
            "replicas": model.spec.wanted_replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 2 * STARTUP_SECONDS,
            "selector": {"matchLabels": selector_labels(model.metadata.name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod_template(model, settings),
        },
    }
