"""The Deployments of the model's pods: of those that serve, and of a newer revision beside them."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import (
    CANARY,
    ENGINE_CONFIG_HASH,
    STABLE,
    TEMPLATE_HASH,
    TRACK_LABEL,
    content_hash,
    labels,
    metadata,
    selector_labels,
)
from controllable_operator.desired.config_map import engine_text
from controllable_operator.desired.gpus import REQUIRED, annotations
from controllable_operator.desired.pod import STARTUP_SECONDS, pod_spec
from controllable_operator.errors import InvalidSpec
from controllable_operator.placement.placed import Placed
from controllable_operator.settings import Settings
from controllable_operator.strategic_merge import merged


def pod_template(
    model: ControllableModel, settings: Settings, placed: Placed | None = None
) -> dict[str, Any]:
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
                "annotations": {ENGINE_CONFIG_HASH: content_hash(engine_text(model))}
                | (annotations(placed.ask, placed.placement) if placed else {}),
            },
            "spec": pod_spec(model, image, placed),
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
    _keep_to_nodes(template["spec"], result["spec"])
    for field in ("initContainers", "containers"):
        kept = {container["name"] for container in result["spec"].get(field) or []}
        if lost := [c["name"] for c in template["spec"][field] if c["name"] not in kept]:
            raise InvalidSpec(
                f"spec.podTemplate.spec.{field}: {', '.join(lost)} must stay; nothing is served without it"
            )
    return result


def _keep_to_nodes(ours: dict[str, Any], result: dict[str, Any]) -> None:
    """Let `result` keep to the nodes that `ours` must have, too: the GPUs that are planned for are there.

    A pod goes where any term holds, so each of one side is joined with each of the other.
    """
    needed = _node_terms(ours)
    stated = _node_terms(result)
    if not needed or stated == needed:
        return
    joined = [
        {key: [*one.get(key, []), *other.get(key, [])] for key in sorted({*one, *other})}
        for one in needed
        for other in stated or [{}]
    ]
    affinity = result.get("affinity") or {}
    nodes = affinity.get("nodeAffinity") or {}
    result["affinity"] = affinity | {"nodeAffinity": nodes | {REQUIRED: {"nodeSelectorTerms": joined}}}


def _node_terms(spec: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return (nodes.get(REQUIRED) or {}).get("nodeSelectorTerms") or []


def template_hash(manifest: dict[str, Any]) -> str | None:
    """The template hash that a pod or a pod template carries, None for one that isn't ours."""
    return manifest["metadata"].get("annotations", {}).get(TEMPLATE_HASH)


def deployment(model: ControllableModel, template: dict[str, Any]) -> dict[str, Any]:
    """The Deployment of the pods that serve. A rollout never has fewer of them than asked for."""
    # A Deployment's selector can't be changed, so this is the one that has always been. That it selects the
    # pods of a canary, too, does no harm: controllers go by who owns a pod.
    return _deployment(model, model.metadata.name, template, STABLE, model.spec.wanted_replicas, {})


def canary_deployment(model: ControllableModel, template: dict[str, Any], replicas: int) -> dict[str, Any]:
    """The Deployment of the pods of a newer revision that is being watched."""
    only = {TRACK_LABEL: CANARY}
    return _deployment(model, canary_name(model), template, CANARY, replicas, only)


def canary_name(model: ControllableModel) -> str:
    """Name of a canary's Deployment and Service."""
    return f"{model.metadata.name}-canary"


def _deployment(
    model: ControllableModel,
    name: str,
    template: dict[str, Any],
    track: str,
    replicas: int,
    selected: dict[str, str],
) -> dict[str, Any]:
    meta = template["metadata"]
    labelled = template | {"metadata": meta | {"labels": meta["labels"] | {TRACK_LABEL: track}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(model, name),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 2 * STARTUP_SECONDS,
            "selector": {"matchLabels": selector_labels(model.metadata.name) | selected},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": labelled,
        },
    }
