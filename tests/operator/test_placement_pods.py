"""What the plan makes of pods: claims, limits, affinity, and when no pods are to be made."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.desired.gpus import claim_templates, planned
from controllable_operator.errors import InvalidSpec, Unplaceable
from controllable_operator.placement import Gpus, Placement, inventory
from controllable_operator.placement.allocated import Allocated, by_claims, by_nodes
from controllable_operator.placement.inventory import attributes
from controllable_operator.placement.placed import Placed, place
from controllable_operator.placement.verdicts import topology_satisfied
from controllable_operator.plugin.gpu_map.boards import boards
from controllable_operator.settings import Settings
from gpu_objects import DEVICE_CLASS, claim, gpu_node, resource_slice

MakeModel = Callable[..., ControllableModel]
BOARD = resource_slice(partition2=2)
BY_DRA = inventory([], [BOARD], [DEVICE_CLASS])
BY_LABELS = inventory([gpu_node()])
PLAIN = inventory([gpu_node(product="")])
SWITCHED = resource_slice("node-2", product="NVIDIA A100-SXM4-80GB")
BY_SWITCH = inventory([], [SWITCHED], [DEVICE_CLASS])
BY_BOTH = inventory([], [BOARD, SWITCHED], [DEVICE_CLASS])
PAIR = {"count": 2, "nvlink": "required"}
CUBE = {"count": 2, "nvlink": "preferred"}


@pytest.fixture
def children(make_model: MakeModel, settings: Settings) -> Callable[..., dict[str, Any]]:
    def build(gpus: Gpus = BY_DRA, **gpu: Any) -> dict[str, Any]:
        made = desired(make_model(gpu=gpu), settings, Cluster(gpus=gpus))
        return {child["kind"]: child for child in made}

    return build


def pod(found: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = found["Deployment"]["spec"]["template"]["spec"]
    return spec


def engine(found: dict[str, Any]) -> dict[str, Any]:
    return next(item for item in pod(found)["containers"] if item["name"] == "triton")


def placed(model: ControllableModel, gpus: Gpus, **more: Any) -> Placed:
    found = place(model, gpus, **more)
    assert found
    return found


# --- DRA ----------------------------------------------------------------------------------------------------


def test_a_required_group_is_a_claim_on_gpus_that_share_the_attribute(children: Any) -> None:
    found = children(**PAIR)
    devices = found["ResourceClaimTemplate"]["spec"]["spec"]["devices"]
    assert devices["constraints"] == [{"requests": ["gpus"], "matchAttribute": "gpu.nvidia.com/partition2"}]
    (request,) = devices["requests"]
    assert request["exactly"] == {
        "deviceClassName": "gpu.nvidia.com",
        "allocationMode": "ExactCount",
        "count": 2,
        "selectors": [],
    }


def test_the_pod_names_the_template_and_its_engine_the_claim(children: Any) -> None:
    found = children(**PAIR)
    name = found["ResourceClaimTemplate"]["metadata"]["name"]
    assert pod(found)["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": name}]
    assert engine(found)["resources"]["claims"] == [{"name": "gpus"}]
    assert "nvidia.com/gpu" not in engine(found)["resources"].get("limits", {})
    assert "affinity" not in pod(found)


def test_preferred_asks_for_the_group_first_and_for_any_gpus_else(children: Any) -> None:
    devices = children(**CUBE)["ResourceClaimTemplate"]["spec"]["spec"]["devices"]
    first, other = devices["requests"][0]["firstAvailable"]
    assert (first["name"], other["name"]) == ("linked", "any")
    assert first["count"] == other["count"] == 2
    assert devices["constraints"][0]["requests"] == ["gpus/linked"]


def test_any_gpus_are_not_part_of_a_partition(children: Any) -> None:
    devices = children(**CUBE)["ResourceClaimTemplate"]["spec"]["spec"]["devices"]
    linked, other = devices["requests"][0]["firstAvailable"]
    assert linked["selectors"] == []
    (only,) = [item["cel"]["expression"] for item in other["selectors"]]
    assert only.startswith('!("partition2" in ')
    single = children(count=1, nvlink="none")["ResourceClaimTemplate"]["spec"]["spec"]["devices"]
    assert single["requests"][0]["exactly"]["selectors"] == []


def test_several_ways_to_nvlink_are_alternatives_each_with_its_own_constraint(children: Any) -> None:
    for gpu, others in ((PAIR, []), (CUBE, ["any"])):
        devices = children(BY_BOTH, **gpu)["ResourceClaimTemplate"]["spec"]["spec"]["devices"]
        first = devices["requests"][0]["firstAvailable"]
        assert [item["name"] for item in first] == ["linked", "linked-2", *others]
        assert devices["constraints"] == [
            {"requests": ["gpus/linked"], "matchAttribute": "gpu.nvidia.com/partition2"}
        ]
        assert [len(item["selectors"]) for item in first][:2] == [0, 2], (
            "boards with NVSwitch have no attribute"
        )


def test_a_single_gpu_had_rather_be_where_it_takes_nothing_from_nvlink(children: Any) -> None:
    for gpus in (BY_DRA, BY_LABELS):
        (wish,) = pod(children(gpus, count=1))["affinity"]["nodeAffinity"].values()
        product, clique = wish[0]["preference"]["matchExpressions"]
        assert product["operator"] == "NotIn"
        assert {"NVIDIA-H100-80GB-HBM3", "H100-80GB-HBM3"} <= set(product["values"])
        assert clique == {"key": "nvidia.com/gpu.clique", "operator": "DoesNotExist"}
    named = pod(children(BY_DRA, count=1, product="H100-80GB-HBM3"))
    assert "affinity" not in named, "who asks for a product has no choice of nodes"


def test_preferred_had_rather_be_on_boards_with_nvswitch_as_no_order_of_devices_chooses_the_node(
    children: Any,
) -> None:
    (wishes,) = pod(children(BY_BOTH, **CUBE))["affinity"]["nodeAffinity"].values()
    products, cliques = [wish["preference"]["matchExpressions"][-1] for wish in wishes]
    assert "NVIDIA-A100-SXM4-80GB" in products["values"]
    assert cliques == {"key": "nvidia.com/gpu.clique", "operator": "Exists"}
    assert "affinity" not in pod(children(BY_BOTH, **PAIR)), "who requires it has a claim that says so"


def test_product_memory_and_architecture_are_selectors_that_look_before_they_ask(children: Any) -> None:
    found = children(**PAIR, product="H100-80GB-HBM3", memory="80Gi", architecture="Hopper")
    request = found["ResourceClaimTemplate"]["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    product, architecture, memory = [item["cel"]["expression"] for item in request["selectors"]]
    assert product.startswith('"productName" in device.attributes["gpu.nvidia.com"] && ')
    assert product.endswith('.productName.matches("(?i)^(nvidia[ -])?(h100[ -]80gb[ -]hbm3)$")')
    assert architecture.endswith('.architecture == "Hopper"')
    assert memory.startswith('"memory" in device.capacity["gpu.nvidia.com"] && ')


@pytest.mark.parametrize(
    ("product", "shown", "memory", "more"),
    [
        ("Tesla T4", 15360, "16Gi", "20Gi"),
        ("NVIDIA A10", 23028, "24Gi", "32Gi"),
        ("NVIDIA L4", 23034, "24Gi", "32Gi"),
        ("NVIDIA A100-SXM4-40GB", 40960, "40Gi", "48Gi"),
        ("NVIDIA L40S", 46068, "48Gi", "64Gi"),
        ("NVIDIA H100 80GB HBM3", 81559, "80Gi", "94Gi"),
        ("NVIDIA H200", 143771, "141Gi", "180Gi"),
        ("NVIDIA B200", 183359, "192Gi", "288Gi"),
    ],
)
def test_gpus_are_had_by_the_memory_that_they_are_sold_with_and_not_by_more(
    make_model: MakeModel, product: str, shown: int, memory: str, more: str
) -> None:
    def reason(asked: str) -> str:
        gpus = inventory([], [resource_slice(product=product, memory=f"{shown}Mi")], [DEVICE_CLASS])
        return placed(make_model(gpu={"count": 1, "memory": asked}), gpus).placement.reason

    assert reason(memory) == "a DRA driver has them"
    assert "are asked for, and 0 are there" in reason(more)


@pytest.mark.parametrize("memory", ["1E400", "-5Gi", "0Gi", "5m", "9" * 20 + "Gi"])
def test_memory_is_a_plain_size(make_model: MakeModel, memory: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.gpu\.memory"):
        make_model(gpu=PAIR | {"memory": memory})


def test_another_claim_is_another_template_as_theirs_can_not_be_changed(children: Any) -> None:
    names = {children(**gpu)["ResourceClaimTemplate"]["metadata"]["name"] for gpu in (PAIR, CUBE)}
    assert len(names) == 2


def test_an_older_revision_keeps_its_template(make_model: MakeModel, settings: Settings) -> None:
    model = make_model(gpu=PAIR)
    found = {child["kind"]: child for child in desired(model, settings, Cluster(gpus=BY_DRA))}
    template = found["Deployment"]["spec"]["template"]
    changed = make_model(gpu=CUBE)
    assert claim_templates(changed, [template])[0]["spec"] == found["ResourceClaimTemplate"]["spec"]


def test_claims_carry_the_labels_by_which_the_operator_sees_them(children: Any) -> None:
    spec = children(**PAIR)["ResourceClaimTemplate"]["spec"]
    assert spec["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "controllable-operator"


def test_whole_boards_by_dra_leave_out_partitioned_ones(children: Any) -> None:
    found = children(inventory([], [resource_slice()], [DEVICE_CLASS]), **PAIR)
    request = found["ResourceClaimTemplate"]["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    product, whole = [item["cel"]["expression"] for item in request["selectors"]]
    assert "a100[ -]sxm4[ -]80gb" in product
    assert whole.startswith('!("partition2" in ')


# --- the device plugin --------------------------------------------------------------------------------------


def test_whole_boards_by_labels_are_limits_and_affinity_to_products_or_cliques(children: Any) -> None:
    found = children(BY_LABELS, **PAIR)
    assert "ResourceClaimTemplate" not in found
    assert engine(found)["resources"]["limits"] == {"nvidia.com/gpu": 2}
    must = pod(found)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    products, cliques = [term["matchExpressions"] for term in must["nodeSelectorTerms"]]
    assert "NVIDIA-H100-80GB-HBM3" in products[-1]["values"]
    assert cliques[-1:] == [{"key": "nvidia.com/gpu.clique", "operator": "Exists"}]


def test_preferred_boards_are_a_wish_of_the_pod(children: Any) -> None:
    affinity = pod(children(BY_LABELS, **CUBE))["affinity"]["nodeAffinity"]
    (wish, clique) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert "NVIDIA-H100-80GB-HBM3" in wish["preference"]["matchExpressions"][-1]["values"]
    assert clique["preference"]["matchExpressions"][-1]["operator"] == "Exists"


@pytest.mark.parametrize("gpu", [PAIR, CUBE])
def test_several_gpus_are_never_one_that_is_shared(children: Any, gpu: dict[str, Any]) -> None:
    affinity = pod(children(BY_LABELS, **gpu))["affinity"]["nodeAffinity"]
    must = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    whole = {"key": "nvidia.com/gpu.sharing-strategy", "operator": "NotIn", "values": ["time-slicing", "mps"]}
    assert all(whole in term["matchExpressions"] for term in must)


def test_a_product_and_its_memory_are_node_labels(children: Any) -> None:
    found = children(BY_LABELS, count=1, product="H100-80GB-HBM3", memory="80Gi")
    must = pod(found)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = must["nodeSelectorTerms"]
    product, memory = term["matchExpressions"]
    assert product["values"] == ["H100-80GB-HBM3", "NVIDIA-H100-80GB-HBM3"]
    assert memory["operator"] == "Gt"
    assert int(memory["values"][0]) < 81559


def test_what_a_known_model_needs_is_asked_of_nodes_that_tell_their_memory(
    make_model: MakeModel, settings: Settings
) -> None:
    model = make_model("hf://Qwen/Qwen2.5-7B", gpu={"count": 1})
    made = {child["kind"]: child for child in desired(model, settings, Cluster(gpus=BY_LABELS))}
    must = pod(made)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    enough, untold = [term["matchExpressions"][0] for term in must["nodeSelectorTerms"]]
    assert (enough["operator"], untold["operator"]) == ("Gt", "DoesNotExist")


def test_a_node_more_changes_no_pod(children: Any) -> None:
    more = inventory([gpu_node(), gpu_node("node-2", 4, "NVIDIA-A100-SXM4-80GB", "81920")])
    assert pod(children(BY_LABELS, **PAIR)) == pod(children(more, **PAIR))


def test_a_model_on_the_cpu_has_nothing_of_all_this(children: Any) -> None:
    found = children(count=0)
    assert "tolerations" not in pod(found)
    assert planned(found["Deployment"]["spec"]["template"]) is None


# --- what is there changes ----------------------------------------------------------------------------------


def test_pods_that_serve_keep_their_plan_while_the_driver_is_away(make_model: MakeModel) -> None:
    model = make_model(gpu=PAIR)
    before = placed(model, BY_DRA).placement
    kept = placed(model, Gpus(), before=[before], serving=True)
    assert kept.placement.to_json() == before.to_json()
    kept.check()


def test_another_way_to_nvlink_restarts_no_pod_that_serves(make_model: MakeModel) -> None:
    model = make_model(gpu=PAIR)
    before = placed(model, BY_DRA).placement
    assert placed(model, BY_BOTH, before=[before], serving=True).placement.to_json() == before.to_json()
    assert placed(model, BY_BOTH, before=[before], serving=False).placement.also == ("",)


@pytest.mark.parametrize("gpu", [PAIR, CUBE])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        (BY_SWITCH, BY_BOTH),  # one partitioned board comes to whole ones
        (BY_LABELS, inventory([gpu_node()], [BOARD], [DEVICE_CLASS])),  # one node gets the DRA driver
        (BY_LABELS, BY_SWITCH),
    ],
)
def test_one_node_with_a_stronger_way_to_nvlink_restarts_no_pod_that_serves(
    make_model: MakeModel, gpu: dict[str, Any], first: Gpus, then: Gpus
) -> None:
    model = make_model(gpu=gpu)
    before = placed(model, first).placement
    assert placed(model, then, before=[before], serving=True).placement.to_json() == before.to_json()
    assert placed(model, then, before=[before]).placement.to_json() != before.to_json()


def test_a_plan_with_one_way_stands_on_pods_as_it_did_before_there_were_several(
    make_model: MakeModel,
) -> None:
    assert "also" not in placed(make_model(gpu=PAIR), BY_DRA).placement.to_json()


def test_without_a_pod_that_serves_the_plan_is_made_anew(make_model: MakeModel) -> None:
    model = make_model(gpu=PAIR)
    before = placed(model, BY_DRA).placement
    with pytest.raises(Unplaceable, match=r"^spec\.gpu: 2 GPUs that NVLink connects are asked for"):
        placed(model, PLAIN, before=[before], serving=False).check()


@pytest.mark.parametrize("gpu", [PAIR, CUBE])
def test_pods_that_load_keep_their_plan_while_nothing_tells_of_gpus(
    make_model: MakeModel, gpu: dict[str, Any]
) -> None:
    """They would be the first to go in a rollout, and may have loaded for half an hour."""
    model = make_model(gpu=gpu)
    before = placed(model, BY_DRA).placement
    kept = placed(model, Gpus(), before=[before], serving=False)
    assert kept.placement.to_json() == before.to_json()
    assert kept.placement.reason.startswith("as its pods were made; planned anew, it would be: ")


def test_a_template_that_was_made_when_nothing_linked_the_gpus_is_not_kept(make_model: MakeModel) -> None:
    """As that of a model that is suspended: it has no pods, which an obstacle would keep it from."""
    model = make_model(gpu=PAIR, suspend=True)
    before = Placement.of_json(placed(model, PLAIN).placement.to_json())
    assert placed(model, Gpus(), before=[before]).placement.level == "NVSwitchNode"


def test_pods_of_another_ask_keep_nothing(make_model: MakeModel) -> None:
    before = placed(make_model(gpu=CUBE), BY_DRA).placement
    found = placed(make_model(gpu=PAIR), PLAIN, before=[before], serving=True)
    assert found.placement.obstacle is not None


def test_a_better_plan_is_taken_even_from_pods_that_serve(make_model: MakeModel) -> None:
    model = make_model(gpu=CUBE)
    before = placed(model, PLAIN).placement
    assert placed(model, BY_DRA, before=[before], serving=True).placement.level == "NVLinkPartition"


def test_the_plan_stands_on_the_pods(children: Any) -> None:
    template = children(**PAIR)["Deployment"]["spec"]["template"]
    document = json.loads(template["metadata"]["annotations"]["serving.controllable.dev/placement"])
    assert document["level"] == "NVLinkPartition"
    found = planned(template)
    assert found
    assert found.attribute == "gpu.nvidia.com/partition2"


def test_too_large_a_model_gets_no_pod_and_is_told_the_sum(make_model: MakeModel) -> None:
    model = make_model("hf://meta-llama/Llama-3.3-70B-Instruct", gpu={"count": 1})
    found = placed(model, BY_LABELS)
    satisfied, reason, message = found.verdicts([])["FitsMemory"]
    assert (satisfied, reason) == (False, "TooLarge")
    assert message.startswith("weights 131.4 (bfloat16) + KV 10.0 (16 paths of 2048 tokens) + ")
    assert "of 79.6 GiB" in message
    with pytest.raises(Unplaceable, match=r"weights 131\.4"):
        found.check()


# --- what was had -------------------------------------------------------------------------------------------


def test_a_claim_whose_gpus_share_the_attribute_is_linked(make_model: MakeModel) -> None:
    found = placed(make_model(gpu=CUBE), BY_DRA).placement
    claims = [claim("b", ["gpu-1", "gpu-2"], request="gpus/any"), claim("a", ["gpu-2", "gpu-3"])]
    assert by_claims(found, claims, [BOARD]) == [Allocated("a", 2, True), Allocated("b", 2, False)]


def test_a_claim_is_linked_by_any_of_the_ways(make_model: MakeModel) -> None:
    found = placed(make_model(gpu=PAIR), BY_BOTH).placement
    claims = [
        claim("a", ["gpu-2", "gpu-3"], request="gpus/linked"),
        claim("b", ["gpu-1", "gpu-6"], node="node-2", request="gpus/linked-2"),
        claim("c", ["gpu-1", "gpu-2"], request="gpus/any"),
    ]
    linked = [replica.linked for replica in by_claims(found, claims, [BOARD, SWITCHED])]
    assert linked == [True, True, False]


@pytest.mark.parametrize(
    ("board", "linked"),
    [(resource_slice(product="NVIDIA L40S"), False), (resource_slice("node-2", partition2=2), None)],
)
def test_gpus_that_have_the_attribute_no_more_are_no_group_and_of_others_nothing_is_known(
    make_model: MakeModel, board: Any, linked: bool | None
) -> None:
    found = placed(make_model(gpu=PAIR), BY_DRA).placement
    assert by_claims(found, [claim("a", ["gpu-2", "gpu-3"])], [board]) == [Allocated("a", 2, linked)]


def test_of_a_fleets_devices_only_those_that_are_claimed_are_read(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        "controllable_operator.placement.allocated.attributes",
        lambda device: read.append(device["name"]) or attributes(device),
    )
    found = placed(make_model(gpu=PAIR), BY_DRA).placement
    fleet = [resource_slice(f"node-{number}", partition2=2) for number in range(100)]
    assert by_claims(found, [claim("a", ["gpu-2", "gpu-3"], "node-7")], fleet) == [Allocated("a", 2, True)]
    assert read == ["gpu-2", "gpu-3"]


BRIDGED = {"product": "NVIDIA A100 80GB PCIe", "island": 2}


@pytest.mark.parametrize(
    ("board", "linked", "split"),
    [
        (resource_slice(partition2=2, partition4=4), ["gpu-0", "gpu-1"], ["gpu-1", "gpu-2"]),
        (resource_slice(partition2=2, partition4=4), ["gpu-0", "gpu-1"], ["gpu-0", "gpu-1", "gpu-2"]),
        (resource_slice(**BRIDGED), ["gpu-2", "gpu-3"], ["gpu-1", "gpu-2"]),  # type: ignore[arg-type]
        (resource_slice(), ["gpu-1", "gpu-6"], None),
        (resource_slice(island=2), ["gpu-1", "gpu-6"], None),  # NVSwitch connects more than the bridges
        (resource_slice(product="NVIDIA L40S", pcieRoot=2), None, ["gpu-0", "gpu-1"]),
    ],
)
def test_the_condition_and_the_map_judge_alike_whatever_was_planned(
    make_model: MakeModel, board: Any, linked: list[str] | None, split: list[str] | None
) -> None:
    island = inventory([], [resource_slice(**BRIDGED)], [DEVICE_CLASS], "example.com/island")  # type: ignore[arg-type]
    found = placed(make_model(gpu=CUBE), island, attribute="example.com/island").placement
    matched = {"devices": {"constraints": [{"matchAttribute": "example.com/island"}]}}
    ours = {"labels": {"app.kubernetes.io/name": "controllable-model"}}
    for devices, expected in ((linked, True), (split, False)):
        if devices:
            had = claim("a", devices)
            had |= {"metadata": had["metadata"] | ours, "spec": matched}
            (replica,) = by_claims(found, [had], [board])
            (shown,) = boards([], [board], [had])
            positions = [[name for _, name in shown.devices].index(device) for device in devices]
            assert (replica.linked, shown.linked(positions)) == (expected, expected)


def test_a_claim_that_waits_is_not_told(make_model: MakeModel) -> None:
    found = placed(make_model(gpu=PAIR), BY_DRA).placement
    assert by_claims(found, [{"metadata": {"name": "c"}, "status": {}}], [BOARD]) == []


def test_whole_boards_by_dra_are_read_back_by_product(make_model: MakeModel) -> None:
    found = placed(make_model(gpu=PAIR), inventory([], [resource_slice()], [DEVICE_CLASS])).placement
    pairs = [claim("a", ["gpu-1", "gpu-2"])]
    assert by_claims(found, pairs, [resource_slice()]) == [Allocated("a", 2, True)]
    assert by_claims(found, pairs, [BOARD]) == [Allocated("a", 2, False)]


def test_nodes_of_ones_own_choice_have_to_have_the_gpus_as_well(
    make_model: MakeModel, settings: Settings
) -> None:
    """A pod goes where any term of a node affinity holds, so one more term would be a way around the GPUs."""

    def terms(**custom: Any) -> list[Any]:
        made = desired(make_model(gpu=PAIR, **custom), settings, Cluster(gpus=BY_LABELS))
        (found,) = [child for child in made if child["kind"] == "Deployment"]
        affinity = found["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        return list(affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"])

    ours = terms()
    zones = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [name]}]} for name in "ab"]
    must = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": zones}}
    both = terms(podTemplate={"spec": {"affinity": {"nodeAffinity": must}}})
    assert len(both) == 2 * len(ours)
    for term in both:
        assert any(
            term["matchExpressions"] == [*one["matchExpressions"], *zone["matchExpressions"]]
            for one in ours
            for zone in zones
        )
    assert terms(podTemplate={"spec": {"affinity": None}}) == ours
    assert terms(podTemplate={"spec": {"affinity": {"podAffinity": {}}}}) == ours


@pytest.mark.parametrize("text", ["x", "[]", '"x"', '{"gpus": 2}'])
def test_a_plan_that_nobody_can_read_is_none(text: str) -> None:
    assert planned({"metadata": {"annotations": {"serving.controllable.dev/placement": text}}}) is None


def test_what_a_later_version_adds_to_a_plan_is_passed_over(make_model: MakeModel) -> None:
    before = placed(make_model(gpu=PAIR), BY_DRA).placement
    text = json.dumps(before.to_json() | {"tomorrow": 1})
    found = planned({"metadata": {"annotations": {"serving.controllable.dev/placement": text}}})
    assert found
    assert found.to_json() == before.to_json()


def test_pods_of_the_device_plugin_are_judged_by_their_node() -> None:
    pods = [
        {"metadata": {"name": "a"}, "spec": {"nodeName": "node-1"}},
        {"metadata": {"name": "b"}, "spec": {"nodeName": "node-2"}},
        {"metadata": {"name": "c"}, "spec": {}},
        {"metadata": {"name": "d"}, "spec": {"nodeName": "node-without-labels"}},
        {"metadata": {"name": "e"}, "spec": {"nodeName": "node-that-is-gone"}},
    ]
    nodes = [
        gpu_node(),
        gpu_node("node-2", product="NVIDIA-L40S"),
        gpu_node("node-without-labels", product=""),
    ]
    assert [(replica.pod, replica.linked) for replica in by_nodes(pods, nodes, 2)] == [
        ("a", True),
        ("b", False),
        ("d", None),
        ("e", None),
    ]


def test_the_condition_goes_by_what_was_had_not_by_what_was_planned(make_model: MakeModel) -> None:
    preferred = placed(make_model(gpu=CUBE), BY_DRA).placement
    assert topology_satisfied("preferred", preferred, [])[:2] == (None, "Pending")
    had, missed = Allocated("a", 2, True), Allocated("b", 2, False)
    satisfied, reason, message = topology_satisfied("preferred", preferred, [had])
    assert (satisfied, reason) == (True, "Satisfied")
    assert "DRA, level NVLinkPartition" in message
    satisfied, reason, message = topology_satisfied("preferred", preferred, [had, missed])
    assert (satisfied, reason) == (False, "Fallback")
    assert message.startswith("1 of 2 replicas are without NVLink (b)")
    required = replace(preferred, fallback=False)
    assert topology_satisfied("required", required, [])[:2] == (True, "Guaranteed")
    assert topology_satisfied("none", required, [])[:2] == (False, "NotRequested")


@pytest.mark.parametrize("linked", [False, None])
def test_a_condition_has_room_for_the_names_of_a_few(make_model: MakeModel, linked: bool | None) -> None:
    found = placed(make_model(gpu=CUBE), BY_DRA).placement
    replicas = [Allocated(f"{'a' * 240}-{number:03}", 2, linked) for number in range(500)]
    _, _, message = topology_satisfied("preferred", found, replicas)
    assert "500 of 500 replicas" in message
    assert "aa-002 and 497 more)" in message
    assert len(message) < 1024


def test_status_tells_mechanism_level_and_reason(make_model: MakeModel) -> None:
    assert placed(make_model(gpu=PAIR), BY_DRA).status().to_json() == {
        "mechanism": "DRA",
        "level": "NVLinkPartition",
        "gpusPerReplica": 2,
        "reason": "the DRA driver groups NVLink peers by gpu.nvidia.com/partition2",
    }
