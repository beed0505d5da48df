"""The children of a model, built from its spec alone."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from controllable_inference.serving.liveness import PATIENCE
from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.desired.common import ENGINE_CONFIG_HASH, TEMPLATE_HASH
from controllable_operator.desired.config_map import engine_config
from controllable_operator.errors import InvalidSpec
from controllable_operator.settings import Settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

MakeModel = Callable[..., ControllableModel]
PREVIOUS = json.loads((Path(__file__).parent / "previous/children.json").read_text())
ENGINE_SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas/engine.schema.json").read_text())
)


@pytest.fixture
def build(make_model: MakeModel, settings: Settings) -> Callable[..., dict[str, Any]]:
    """All children of a model by kind."""
    return lambda **spec: {child["kind"]: child for child in desired(make_model(**spec), settings, Cluster())}


def pod_of(children: dict[str, Any]) -> dict[str, Any]:
    return children["Deployment"]["spec"]["template"]["spec"]


def container(children: dict[str, Any], name: str) -> dict[str, Any]:
    pod = pod_of(children)
    return next(c for c in [*pod["initContainers"], *pod["containers"]] if c["name"] == name)


def env_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in spec["env"]}


def test_what_pods_need_is_applied_before_the_pods(make_model: MakeModel, settings: Settings) -> None:
    kinds = [child["kind"] for child in desired(make_model(), settings, Cluster())]
    assert kinds == ["ControllerRevision", "ConfigMap", "NetworkPolicy", "Service", "Deployment"]


def test_every_child_is_labelled_and_owned_by_its_model(build: Any) -> None:
    for child in build().values():
        meta = child["metadata"]
        assert meta["namespace"] == "test"
        assert meta["labels"]["app.kubernetes.io/instance"] == "nano"
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "controllable-operator"
        (owner,) = meta["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ControllableModel", "nano", "uid-1")
        assert owner["controller"]
        assert owner["blockOwnerDeletion"]


def test_building_twice_gives_the_same(make_model: MakeModel, settings: Settings) -> None:
    assert desired(make_model(), settings, Cluster()) == desired(make_model(), settings, Cluster())


# --- engine.json --------------------------------------------------------------------------------------------


def test_engine_json_of_a_minimal_model_is_valid(make_model: MakeModel) -> None:
    ENGINE_SCHEMA.validate(engine_config(make_model()))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    max_paths=st.integers(1, 64),
    threshold=st.sampled_from(["0", "0.3", "1", "1.0"]),
    enabled=st.booleans(),
    coefficients=st.sampled_from([("0", "2"), ("0.5", "1.5"), ("1", "1")]),
    trace=st.sampled_from(["none", "summary", "full"]),
    size=st.integers(0, 1000),
    timeout=st.sampled_from(["30s", "1m30s", "250ms"]),
    precision=st.sampled_from(["auto", "float32", "bfloat16", "float16"]),
)
def test_engine_json_of_any_valid_model_is_valid(
    make_model: MakeModel,
    max_paths: int,
    threshold: str,
    enabled: bool,
    coefficients: tuple[str, str],
    trace: str,
    size: int,
    timeout: str,
    precision: str,
) -> None:
    model = make_model(
        model={"precision": precision},
        control={
            "pathPruning": {"enabled": enabled, "maxPaths": max_paths, "threshold": threshold},
            "computeBudget": {"minCoefficient": coefficients[0], "maxCoefficient": coefficients[1]},
            "trace": trace,
        },
        serving={"queue": {"size": size, "timeout": timeout}},
    )
    ENGINE_SCHEMA.validate(engine_config(model))


def test_control_is_passed_on_word_for_word(build: Any, make_model: MakeModel) -> None:
    control = make_model().spec.control.to_json()
    assert json.loads(build()["ConfigMap"]["data"]["engine.json"])["control"] == control


def test_adapters_reach_the_engine_with_the_paths_of_those_that_have_weights(make_model: MakeModel) -> None:
    law = {"name": "law", "uri": "pvc://adapters/law", "domain": "court", "specialTokens": ["verdict:"]}
    config = engine_config(make_model(model={"adapters": [law, {"name": "slow", "budgetScale": "1.5"}]}))
    ENGINE_SCHEMA.validate(config)
    common = {"name": "law", "domain": "court", "path": "/weights/adapters/law"}
    assert config["model"]["adapters"] == [
        common | {"specialTokens": ["verdict:"], "budgetScale": "1"},
        {"name": "slow", "domain": "slow", "path": None, "specialTokens": [], "budgetScale": "1.5"},
    ]


def test_a_model_without_adapters_is_told_nothing_of_them_and_so_keeps_its_pods(
    make_model: MakeModel,
) -> None:
    assert engine_config(make_model())["model"].keys() == {"name", "path", "precision"}


def test_durations_reach_the_engine_as_seconds(make_model: MakeModel) -> None:
    serving = engine_config(make_model(serving={"drainTimeout": "5m", "queue": {"timeout": "1m30s"}}))[
        "serving"
    ]
    assert serving["drainTimeoutSeconds"] == 300
    assert serving["queue"]["timeoutSeconds"] == 90


# --- rollouts -----------------------------------------------------------------------------------------------


def annotations(children: dict[str, Any]) -> dict[str, str]:
    return children["Deployment"]["spec"]["template"]["metadata"]["annotations"]


def test_a_change_of_the_engine_config_makes_new_pods(build: Any) -> None:
    before, after = annotations(build()), annotations(build(control={"trace": "full"}))
    assert before[ENGINE_CONFIG_HASH] != after[ENGINE_CONFIG_HASH]
    assert before[TEMPLATE_HASH] != after[TEMPLATE_HASH]


def test_a_change_of_the_image_makes_new_pods_with_the_same_engine_config(build: Any) -> None:
    before, after = annotations(build()), annotations(build(serving={"image": "other:2"}))
    assert before[ENGINE_CONFIG_HASH] == after[ENGINE_CONFIG_HASH]
    assert before[TEMPLATE_HASH] != after[TEMPLATE_HASH]


def test_scaling_makes_no_new_pod_template(build: Any) -> None:
    assert annotations(build(replicas=1)) == annotations(build(replicas=5))
    assert build(replicas=5)["Deployment"]["spec"]["replicas"] == 5


def test_a_rollout_never_has_fewer_pods_than_asked_for(build: Any) -> None:
    strategy = build()["Deployment"]["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


# --- pods ---------------------------------------------------------------------------------------------------


def test_pods_are_allowed_by_the_restricted_pod_security_standard(build: Any) -> None:
    pod = pod_of(build())
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for spec in [*pod["initContainers"], *pod["containers"]]:
        context = spec["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_every_mount_has_its_volume(build: Any) -> None:
    for uri in ("image:///models/nano", "pvc://claim/nano", "hf://org/repo", "oci://host/nano:1"):
        pod = pod_of(build(uri=uri))
        mounted = {m["name"] for c in [*pod["initContainers"], *pod["containers"]] for m in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_a_pod_lives_long_enough_to_drain(build: Any) -> None:
    pod = pod_of(build(serving={"drainTimeout": "5m"}))
    (triton, _) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= triton["lifecycle"]["preStop"]["sleep"]["seconds"] + 300


def test_triton_outlives_the_frontend(build: Any) -> None:
    children = build()
    (_, lame_duck) = container(children, "frontend")["args"]
    sleep = container(children, "triton")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > int(lame_duck.removeprefix("--lame-duck=")) > 0


def test_triton_dies_by_the_frontends_word_and_not_by_its_absence(build: Any) -> None:
    triton = container(build(), "triton")
    liveness = triton["livenessProbe"]
    assert liveness["exec"]["command"] == ["python3", "-m", "controllable_inference.serving.liveness", "8080"]
    assert liveness["timeoutSeconds"] > PATIENCE  # kubelet would take its own impatience for death
    assert liveness["periodSeconds"] * liveness["failureThreshold"] <= 20
    assert not {"startupProbe", "readinessProbe"} & set(triton)


def test_the_frontend_is_ready_when_the_model_is_and_alive_by_itself(build: Any) -> None:
    frontend = container(build(), "frontend")
    assert frontend["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert frontend["livenessProbe"]["httpGet"]["path"] == "/health/frontend"


def test_only_the_frontend_has_a_port(build: Any) -> None:
    assert "ports" not in container(build(), "triton")
    assert [p["name"] for p in container(build(), "frontend")["ports"]] == ["http"]


def test_both_containers_find_the_engine_config_where_the_config_map_is_mounted(build: Any) -> None:
    children = build()
    for name in ("triton", "frontend"):
        spec = container(children, name)
        folder = next(m["mountPath"] for m in spec["volumeMounts"] if m["name"] == "config")
        assert env_of(spec)["CONTROLLABLE_ENGINE_CONFIG"] == f"{folder}/engine.json"
    volume = next(v for v in pod_of(children)["volumes"] if v["name"] == "config")
    assert volume["configMap"]["name"] == children["ConfigMap"]["metadata"]["name"]


def test_a_model_without_an_image_takes_the_operators(build: Any) -> None:
    assert container(build(), "triton")["image"] == "localhost/runtime:1"
    assert container(build(serving={"image": "mine:3"}), "triton")["image"] == "mine:3"


def test_without_any_image_the_spec_is_invalid_and_says_how_to_name_one(make_model: MakeModel) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.serving\.image"):
        desired(make_model(), Settings(runtime_image=""), Cluster())


# --- where the weights come from ----------------------------------------------------------------------------


def test_fetch_gets_uri_and_revision(build: Any) -> None:
    fetch = container(build(uri="hf://org/repo", model={"revision": "abc123"}), "fetch")
    assert fetch["args"] == ["fetch", "hf://org/repo", "--to", "/weights/model", "--revision", "abc123"]


def test_the_token_is_read_from_the_secret_by_fetch_alone(build: Any) -> None:
    children = build(uri="hf://org/repo", model={"secretRef": {"name": "hf"}})
    assert env_of(container(children, "fetch"))["HF_TOKEN"] == {
        "secretKeyRef": {"name": "hf", "key": "token"}
    }
    assert "HF_TOKEN" not in env_of(container(children, "triton"))


def test_a_claim_is_mounted_read_only(build: Any) -> None:
    children = build(uri="pvc://models/deep/nano")
    volume = next(v for v in pod_of(children)["volumes"] if v["name"] == "sources")
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    for name in ("fetch", "triton"):
        mount = next(m for m in container(children, name)["volumeMounts"] if m["name"] == "sources")
        assert mount == {"name": "sources", "mountPath": "/sources", "readOnly": True}
    assert env_of(container(children, "fetch"))["CONTROLLABLE_SOURCES_ROOT"] == "/sources"


def test_each_engine_config_has_an_immutable_config_map_of_its_own(build: Any) -> None:
    one, other = (build(control={"trace": trace})["ConfigMap"] for trace in ("none", "full"))
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one["immutable"]


def test_the_operator_may_read_the_metrics_of_a_canary_and_of_no_other_model(
    make_model: MakeModel, settings: Settings
) -> None:
    inside = dataclasses.replace(settings, namespace="system")

    def peers(**spec: Any) -> list[dict[str, Any]]:
        children = desired(make_model(**spec), inside, Cluster())
        policy = next(child for child in children if child["kind"] == "NetworkPolicy")
        return list(policy["spec"]["ingress"][0]["from"])

    assert peers() == [{"podSelector": {}}]
    assert peers(rollout={"strategy": "Canary"}) == [
        {"podSelector": {}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "system"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "controllable-operator"}},
        },
    ]


def test_weights_are_read_only_for_the_engine(build: Any) -> None:
    mount = next(m for m in container(build(), "triton")["volumeMounts"] if m["name"] == "weights")
    assert mount["readOnly"] is True


# --- resources ----------------------------------------------------------------------------------------------


def test_the_default_is_a_small_request_and_no_cpu_limit(build: Any) -> None:
    assert container(build(), "triton")["resources"] == {"requests": {"cpu": "100m", "memory": "1Gi"}}


def shared_memory(children: dict[str, Any]) -> dict[str, Any]:
    (volume,) = (volume for volume in pod_of(children)["volumes"] if volume["name"] == "shm")
    return volume["emptyDir"]


def test_several_gpus_share_the_model_and_have_shared_memory_to_talk_through(build: Any) -> None:
    children = build(gpu={"count": 4, "nvlink": "required"})
    engine = json.loads(children["ConfigMap"]["data"]["engine.json"])
    ENGINE_SCHEMA.validate(engine)
    assert engine["model"]["tensorParallel"] == 4
    assert shared_memory(children) == {"medium": "Memory", "sizeLimit": "2Gi"}


@pytest.mark.parametrize("count", [0, 1])
def test_pods_of_a_release_that_knew_nothing_of_sharing_are_not_made_anew(build: Any, count: int) -> None:
    children = build(gpu={"count": count})
    engine = json.loads(children["ConfigMap"]["data"]["engine.json"])
    before = next(child for child in PREVIOUS if child["kind"] == "ConfigMap")
    assert engine["model"].keys() == json.loads(before["data"]["engine.json"])["model"].keys()
    (deployment,) = (child for child in PREVIOUS if child["kind"] == "Deployment")
    assert shared_memory(children) == shared_memory({"Deployment": deployment})


def test_gpus_are_limits_of_the_engine_and_gpu_taints_are_tolerated(build: Any) -> None:
    children = build(gpu={"count": 1}, serving={"resources": {"limits": {"memory": "80Gi"}}})
    assert container(children, "triton")["resources"]["limits"] == {"memory": "80Gi", "nvidia.com/gpu": 1}
    assert pod_of(children)["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "tolerations" not in pod_of(build())


# --- network ------------------------------------------------------------------------------------------------


def test_the_service_sends_port_80_to_the_frontend(build: Any) -> None:
    spec = build()["Service"]["spec"]
    assert spec["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]
    pod_labels = build()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= pod_labels.items()


def test_by_default_only_this_namespace_reaches_the_model(build: Any) -> None:
    (rule,) = build()["NetworkPolicy"]["spec"]["ingress"]
    assert rule == {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": 8080}]}


def test_allow_from_replaces_the_default(build: Any) -> None:
    peers = [
        {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]
    (rule,) = build(networkPolicy={"allowFrom": peers})["NetworkPolicy"]["spec"]["ingress"]
    assert rule["from"] == peers


def test_without_a_network_policy_none_is_built(build: Any) -> None:
    assert "NetworkPolicy" not in build(networkPolicy={"enabled": False})
