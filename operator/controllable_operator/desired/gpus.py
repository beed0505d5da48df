"""The GPUs of a pod, by the plan: a claim on devices, or an extended resource and the nodes that will do."""

import json
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import content_hash, labels, metadata
from controllable_operator.kinds import CLAIM_TEMPLATE
from controllable_operator.placement.ask import Ask
from controllable_operator.placement.groups import DEVICE_CLASS, RESOURCE
from controllable_operator.placement.plan import Placement
from controllable_operator.placement.selectors import Term, device_selectors, node_terms, sparing

Manifest = dict[str, Any]

# On the pods: the plan that they were made by, and what they claim.
PLACEMENT = "serving.controllable.dev/placement"
CLAIM = "serving.controllable.dev/gpu-claim"

# Of an affinity: what a node must have, or the pod does not start.
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

REQUEST, LINKED, OTHERS = "gpus", "linked", "any"
_CLAIM_NAME = "gpus"
# Through it, processes on several nodes reach each other's GPUs by NVLink.
_CHANNEL = "channel"


def annotations(ask: Ask, placement: Placement) -> dict[str, str]:
    """What stands on the pods about their GPUs."""
    found = {PLACEMENT: json.dumps(placement.to_json(), sort_keys=True)}
    if placement.mechanism == "DRA":
        found[CLAIM] = json.dumps(device_claim(ask, placement), sort_keys=True)
    return found


def planned(template: Manifest) -> Placement | None:
    """The plan that a pod or a pod template was made by, None for one that can't be read."""
    text = template["metadata"].get("annotations", {}).get(PLACEMENT)
    try:
        return Placement.of_json(json.loads(text)) if text else None
    except (ValueError, TypeError, AttributeError):  # somebody else wrote it
        return None


def device_claim(ask: Ask, placement: Placement) -> Manifest:
    """`devices` of a ResourceClaim: what is planned, or the first of several ways that a node has."""
    ways = placement.ways
    names = [LINKED if number == 1 else f"{LINKED}-{number}" for number in range(1, len(ways) + 1)]
    if placement.fallback:
        ways, names = [*ways, Placement("DRA", "Node", placement.gpus)], [*names, OTHERS]
    if len(ways) == 1:
        request: Manifest = {"name": REQUEST, "exactly": _request(ask, placement)}
        full = {REQUEST: placement}
    else:
        first = [{"name": name} | _request(ask, way) for name, way in zip(names, ways, strict=True)]
        request = {"name": REQUEST, "firstAvailable": first}
        full = {f"{REQUEST}/{name}": way for name, way in zip(names, ways, strict=True)}
    constraints = [
        {"requests": [name], "matchAttribute": way.attribute} for name, way in full.items() if way.attribute
    ]
    return {"requests": [request]} | ({"constraints": constraints} if constraints else {})


def node_affinity(ask: Ask, placement: Placement) -> Manifest:
    """Which nodes will do, unless a claim tells that; and which ones had better be taken."""
    affinity: Manifest = {}
    if placement.mechanism != "DRA":
        must = Placement("DevicePlugin", "Node", placement.gpus) if placement.fallback else placement
        if terms := node_terms(ask, must):
            affinity[REQUIRED] = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
    if wishes := _wishes(ask, placement):
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100, "preference": {"matchExpressions": term}} for term in wishes
        ]
    return affinity


def _wishes(ask: Ask, placement: Placement) -> list[Term]:
    """The order of a claim's alternatives is one of devices on a node; which node, only labels can tell."""
    if placement.mechanism == "DRA" and ask.product:
        return []  # all nodes with the product are alike
    if placement.fallback and placement.has_nvlink:
        return node_terms(ask, Placement("DevicePlugin", "NVSwitchNode", placement.gpus))
    return [sparing()] if ask.count == 1 and not ask.product else []


def claim_templates(model: ControllableModel, templates: list[Manifest]) -> list[Manifest]:
    """The ResourceClaimTemplates that these pod templates name; theirs can't be changed, so each is new."""
    found = {}
    for template in templates:
        if text := template["metadata"].get("annotations", {}).get(CLAIM):
            name = _template_name(model, text)
            found[name] = {
                "apiVersion": CLAIM_TEMPLATE.api_version,
                "kind": CLAIM_TEMPLATE.name,
                "metadata": metadata(model, name),
                "spec": {
                    # By them the operator sees the claims, which have their pods as owners.
                    "metadata": {"labels": labels(model.metadata.name)},
                    "spec": {"devices": json.loads(text)},
                },
            }
    return list(found.values())


def channel_name(model: ControllableModel) -> str:
    """The ResourceClaimTemplate of the channel of a ComputeDomain."""
    return f"{model.metadata.name}-nodes-channel"


def with_gpus(
    model: ControllableModel, spec: Manifest, container: str, ask: Ask, placement: Placement
) -> Manifest:
    """The pod's spec with GPUs for one container."""
    result = spec | {
        # GPU nodes are often tainted with the name of their resource to keep other pods away.
        "tolerations": [{"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
    }
    if placement.mechanism == "DRA":
        name = _template_name(model, annotations(ask, placement)[CLAIM])
        result["resourceClaims"] = [{"name": _CLAIM_NAME, "resourceClaimTemplateName": name}]
        added: Manifest = {"claims": [{"name": _CLAIM_NAME}]}
    else:
        added = {"limits": {RESOURCE: placement.gpus}}
    if affinity := node_affinity(ask, placement):
        result["affinity"] = {"nodeAffinity": affinity}
    if placement.mechanism == "ComputeDomain":
        result["resourceClaims"] = [{"name": _CHANNEL, "resourceClaimTemplateName": channel_name(model)}]
        added["claims"] = [{"name": _CHANNEL}]
    result["containers"] = [
        _added(item, added) if item["name"] == container else item for item in spec["containers"]
    ]
    return result


def _added(container: Manifest, added: Manifest) -> Manifest:
    resources = container["resources"]
    if "limits" in added:
        added = added | {"limits": resources.get("limits", {}) | added["limits"]}
    return container | {"resources": resources | added}


def _request(ask: Ask, placement: Placement) -> Manifest:
    selectors = [{"cel": {"expression": expression}} for expression in device_selectors(ask, placement)]
    return {
        "deviceClassName": DEVICE_CLASS,
        "allocationMode": "ExactCount",
        "count": placement.gpus,
        "selectors": selectors,
    }


def _template_name(model: ControllableModel, claim: str) -> str:
    return f"{model.metadata.name}-gpus-{content_hash(claim)[:10]}"
