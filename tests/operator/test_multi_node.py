"""Replicas over the nodes of one NVLink clique: what would place them, for people to look at."""

from typing import Any

import pytest
from controllable_operator.placement import Gpus, inventory
from controllable_operator.plugin.errors import NotApplicable
from controllable_operator.plugin.multi_node import build
from gpu_objects import gpu_node
from plugin_objects import model_manifest

RACK = [gpu_node(f"node-{i}", 4, "NVIDIA-GB200", "189471", "c1.0") for i in range(18)]
SHARED_RACK = [gpu_node(f"node-{i}", 4, "NVIDIA-GB200", "189471", "c1.0", "mps") for i in range(18)]
GPUS = inventory(RACK, multi_node=True)
EIGHT = {"count": 8, "nvlink": "required"}


def built(gpus: Gpus | None = GPUS, image: str = "runtime:1", **spec: Any) -> list[dict[str, Any]]:
    manifest = model_manifest("big")
    manifest["spec"] |= spec
    return list(build(manifest, gpus, image)["items"])


def test_a_compute_domain_names_the_channel_that_every_pod_claims() -> None:
    domain, pods, _ = built(gpu=EIGHT)
    name = domain["spec"]["channel"]["resourceClaimTemplate"]["name"]
    for template in templates(pods):
        claimed = template["spec"]["resourceClaims"]
        assert claimed == [{"name": "channel", "resourceClaimTemplateName": name}]
        assert engine(template)["resources"]["claims"] == [{"name": "channel"}]


def test_a_replica_is_a_group_of_pods_that_share_out_its_gpus() -> None:
    _, pods, _ = built(gpu=EIGHT, replicas=3)
    assert pods["spec"]["replicas"] == 3
    assert pods["spec"]["leaderWorkerTemplate"]["size"] == 2
    for template in templates(pods):
        assert engine(template)["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_a_group_is_in_one_clique_and_its_pods_on_nodes_of_their_own() -> None:
    _, pods, _ = built(gpu=EIGHT)
    for template in templates(pods):
        affinity = template["spec"]["affinity"]
        (clique,) = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert clique["topologyKey"] == "nvidia.com/gpu.clique"
        assert clique["matchLabelKeys"] == ["leaderworkerset.sigs.k8s.io/group-index"]
        (node,) = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert node["topologyKey"] == "kubernetes.io/hostname"
        of_set = {"matchLabels": {"leaderworkerset.sigs.k8s.io/name": pods["metadata"]["name"]}}
        assert clique["labelSelector"] == node["labelSelector"] == of_set
        must = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = must["nodeSelectorTerms"]
        assert {"key": "nvidia.com/gpu.clique", "operator": "Exists"} in term["matchExpressions"]


def test_affinity_of_the_models_own_stays() -> None:
    own = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}
    wanted = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]}}
    _, pods, _ = built(gpu=EIGHT, podTemplate={"spec": {"affinity": wanted}})
    for template in templates(pods):
        found = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert [term["topologyKey"] for term in found] == ["zone", "nvidia.com/gpu.clique"]


def test_only_leaders_get_requests_and_none_counts_as_the_operators() -> None:
    _, pods, _ = built(gpu=EIGHT, podTemplate={"metadata": {"labels": {"team": "a"}}})
    leader, worker = [template["metadata"]["labels"] for template in templates(pods)]
    service = {"app.kubernetes.io/name": "controllable-model", "app.kubernetes.io/instance": "big"}
    assert service.items() <= leader.items()
    assert not service.items() <= worker.items()
    assert all("app.kubernetes.io/managed-by" not in labels for labels in (leader, worker))
    assert leader["team"] == worker["team"] == "a"


def test_they_go_with_the_model_and_take_no_name_of_its_children() -> None:
    for item in built(gpu=EIGHT):
        (owner,) = item["metadata"]["ownerReferences"]
        assert owner["uid"] == "uid-of-big"
        assert item["metadata"]["name"] == "big-nodes"  # LWS makes a Service of this name


@pytest.mark.parametrize("nvlink", ["required", "preferred"])
def test_preferred_may_span_nodes_as_well(nvlink: str) -> None:
    assert len(built(gpu={"count": 8, "nvlink": nvlink})) == 3


@pytest.mark.parametrize(
    ("gpus", "gpu", "said"),
    [
        (None, EIGHT, "the right to list nodes, resourceslices and deviceclasses"),
        (inventory([], multi_node=True), EIGHT, "no clique of nodes has 8 such GPUs"),
        (inventory(SHARED_RACK, multi_node=True), EIGHT, "no clique of nodes has 8 such GPUs"),
        (inventory(RACK), EIGHT, "not both served here"),
        (GPUS, {"count": 0}, "do not span nodes"),
        (GPUS, {"count": 1}, "do not span nodes"),
        (GPUS, {"count": 4, "nvlink": "required"}, "fits one node"),
        (inventory(RACK[:1], multi_node=True), EIGHT, "no clique of nodes has 8 such GPUs"),
        (GPUS, EIGHT | {"product": "B200"}, "no clique of nodes has 8 such GPUs"),
    ],
)
def test_where_it_makes_no_sense_it_is_said_why(gpus: Gpus | None, gpu: dict[str, Any], said: str) -> None:
    with pytest.raises(NotApplicable, match=said):
        built(gpus, gpu=gpu)


def test_what_the_operator_knows_of_an_administrators_attribute_counts() -> None:
    reason = "the DRA driver groups NVLink peers by example.com/island"
    plan = {"mechanism": "DRA", "level": "NVLinkPartition", "gpusPerReplica": 8, "reason": reason}
    manifest = model_manifest("big", placement=plan, observedGeneration=1)
    manifest["spec"]["gpu"] = EIGHT
    with pytest.raises(NotApplicable, match=r"fits one node .*example\.com/island"):
        build(manifest, GPUS, "runtime:1")
    manifest["metadata"]["generation"] = 2  # it asks for something else since
    assert build(manifest, GPUS, "runtime:1")["items"]


def test_without_an_image_it_is_asked_for() -> None:
    with pytest.raises(NotApplicable, match="--runtime-image"):
        built(image="", gpu=EIGHT)


def templates(pods: dict[str, Any]) -> list[dict[str, Any]]:
    both = pods["spec"]["leaderWorkerTemplate"]
    return [both["leaderTemplate"], both["workerTemplate"]]


def engine(template: dict[str, Any]) -> dict[str, Any]:
    return next(item for item in template["spec"]["containers"] if item["name"] == "triton")


def test_workers_compute_for_a_leader_that_alone_serves() -> None:
    _, pods, _ = built(gpu=EIGHT)
    leader, worker = [template["spec"]["containers"] for template in templates(pods)]
    assert [container["name"] for container in leader] == ["triton", "frontend"]
    assert [(container["name"], container["args"]) for container in worker] == [("triton", ["vllm-node"])]
    assert "livenessProbe" in leader[0]
    assert "livenessProbe" not in worker[0]  # it has nobody to ask


def test_nodes_of_a_group_reach_each_other() -> None:
    _, pods, policy = built(gpu=EIGHT)
    of_set = {"matchLabels": {"leaderworkerset.sigs.k8s.io/name": pods["metadata"]["name"]}}
    assert policy["spec"]["podSelector"] == of_set
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": of_set}]}]
