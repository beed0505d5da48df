"""A model whose replicas span the nodes of one NVLink clique: a ComputeDomain and a LeaderWorkerSet.

The leader serves, and vLLM computes on all nodes of the group. The operator does not make these, as nobody
has run them on GPUs yet: `kubectl controllable multi-node` prints them.
"""

from dataclasses import replace
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import INSTANCE_LABEL, NAME_LABEL, metadata, selector_labels
from controllable_operator.desired.deployment import pod_template
from controllable_operator.desired.gpus import REQUIRED, channel_name
from controllable_operator.desired.pod import TRITON
from controllable_operator.kinds import COMPUTE_DOMAIN, LEADER_WORKER_SET, NETWORK_POLICY
from controllable_operator.placement.group import Group
from controllable_operator.placement.node_labels import CLIQUE
from controllable_operator.placement.placed import Placed
from controllable_operator.placement.plan import Placement
from controllable_operator.settings import Settings

Manifest = dict[str, Any]

# On each pod of a LeaderWorkerSet: of which set, and of which group of it.
_SET, _GROUP = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/group-index"


def multi_node(model: ControllableModel, settings: Settings, placed: Placed, group: Group) -> list[Manifest]:
    """The manifests, one group of pods a replica.

    Raises:
        InvalidSpec: no pods can be made from this spec.
    """
    pods = replace(placed, placement=Placement("ComputeDomain", "NVLinkClique", group.gpus))
    name = f"{model.metadata.name}-nodes"
    template = _together(pod_template(model, settings, pods), name)
    return [
        {
            "apiVersion": COMPUTE_DOMAIN.api_version,
            "kind": COMPUTE_DOMAIN.name,
            "metadata": _metadata(model, name),
            # The driver makes the ResourceClaimTemplate of this name; how many nodes join it sees by itself.
            "spec": {"numNodes": 0, "channel": {"resourceClaimTemplate": {"name": channel_name(model)}}},
        },
        {
            "apiVersion": LEADER_WORKER_SET.api_version,
            "kind": LEADER_WORKER_SET.name,
            "metadata": _metadata(model, name),
            "spec": {
                "replicas": model.spec.wanted_replicas,
                "leaderWorkerTemplate": {
                    "size": group.pods,
                    # What was computed together is of no use to one that starts again.
                    "restartPolicy": "RecreateGroupOnPodRestart",
                    "leaderTemplate": _labelled(template, selector_labels(model.metadata.name)),
                    "workerTemplate": _labelled(_computing(template), _worker_labels(model)),
                },
            },
        },
        {
            "apiVersion": NETWORK_POLICY.api_version,
            "kind": NETWORK_POLICY.name,
            "metadata": _metadata(model, name),
            # Nodes of a group talk on ports that torch and vLLM choose.
            "spec": {
                "podSelector": {"matchLabels": {_SET: name}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {_SET: name}}}]}],
            },
        },
    ]


def _metadata(model: ControllableModel, name: str) -> Manifest:
    # Not with the label of what the operator manages.
    return metadata(model, name) | {"labels": selector_labels(model.metadata.name)}


def _worker_labels(model: ControllableModel) -> dict[str, str]:
    """Of pods that get no requests: the Service selects the leaders."""
    return {NAME_LABEL: "controllable-model-worker", INSTANCE_LABEL: model.metadata.name}


def _labelled(template: Manifest, labels: dict[str, str]) -> Manifest:
    meta = template["metadata"]
    own = {key: value for key, value in meta["labels"].items() if not key.startswith("app.kubernetes.io/")}
    return template | {"metadata": meta | {"labels": own | labels}}


def _computing(template: Manifest) -> Manifest:
    """Of pods that compute their share of the model and serve nobody, so that there is nobody to probe."""
    (engine,) = [c for c in template["spec"]["containers"] if c["name"] == TRITON]
    kept = {key: value for key, value in engine.items() if key not in ("livenessProbe", "lifecycle")}
    return template | {"spec": template["spec"] | {"containers": [kept | {"args": ["vllm-node"]}]}}


def _together(template: Manifest, name: str) -> Manifest:
    """The pods of a group in one clique, and no two of the set on a node, which has one channel for all."""
    ours = {"labelSelector": {"matchLabels": {_SET: name}}}
    affinity = dict(template["spec"].get("affinity") or {})
    for kind, term in (
        ("podAffinity", {"topologyKey": CLIQUE, "matchLabelKeys": [_GROUP]} | ours),
        ("podAntiAffinity", {"topologyKey": "kubernetes.io/hostname"} | ours),
    ):
        wanted = dict(affinity.get(kind) or {})
        affinity[kind] = wanted | {REQUIRED: [*(wanted.get(REQUIRED) or []), term]}
    return template | {"spec": template["spec"] | {"affinity": affinity}}
