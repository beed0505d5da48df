"""The chart's admission rules on a real API server: who is refused, in which words, and who is left alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cluster_fixtures import Kubectl, eventually, helm_template

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

REGISTRY = "registry.example.com/ml"
SOURCES = ["image:///", "hf://deepseek-ai/"]
RULE = {"name": "team-a", "imageRegistries": [REGISTRY], "modelSources": SOURCES, "maxGPUs": 2}


def model(name: str = "nano", uri: str = "image:///models/nano", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": name},
        "spec": {"model": {"uri": uri}} | spec,
    }


def adapted(*adapters: dict[str, Any]) -> dict[str, Any]:
    return model(model={"uri": "image:///models/nano", "adapters": list(adapters)})


def container(**fields: Any) -> dict[str, Any]:
    return {"podTemplate": {"spec": {"containers": [{"name": "sidecar"} | fields]}}}


def create(kubectl: Kubectl, manifest: dict[str, Any], dry: bool = True) -> str:
    """What the API server says against it; empty if nothing."""
    how = ["--dry-run=server"] if dry else []
    return kubectl.run("create", *how, "--validate=false", "--filename=-", stdin=json.dumps(manifest)).stderr


@dataclass(frozen=True)
class Team:
    """A namespace under the rule, with a model that is older than the rule and breaks all of it."""

    kubectl: Kubectl
    where: str


OLDER = model("older", "hf://other/model", serving={"image": "docker.io/mine:1"}, gpu={"count": 1})


@pytest.fixture(scope="module")
def team(cluster: Kubectl, definitions: None) -> Iterator[Team]:
    namespace = "team-a-under-rules"
    cluster("create", "namespace", namespace)
    kubectl = Kubectl(namespace)
    kubectl.apply(OLDER)
    rule = json.dumps([RULE | {"namespaces": [namespace]}])
    arguments = ["--show-only=templates/admission.yaml", f"--set-json=admission.rules={rule}"]
    text = helm_template("controllable-operator", *arguments, release="op")
    cluster("apply", "--filename=-", stdin=text)
    where = f"in namespace {namespace} (rule team-a of op-controllable-operator)"
    eventually(lambda: where in create(kubectl, model(uri="hf://other/model")), timeout=60)
    yield Team(kubectl, where)
    cluster("delete", "--filename=-", stdin=text)
    cluster("delete", "namespace", namespace, "--wait=false")


def test_the_api_server_finds_nothing_wrong_with_the_policy(team: Team, cluster: Kubectl) -> None:
    name = "validatingadmissionpolicy/op-controllable-operator-team-a"
    warnings = "jsonpath={.status.typeChecking.expressionWarnings}"
    status = eventually(lambda: cluster("get", name, "--output=jsonpath={.status.observedGeneration}"))
    assert (status, cluster("get", name, f"--output={warnings}")) == ("1", "")


ALLOWED = [
    model(),
    model(uri="hf://deepseek-ai/DeepSeek-R1"),
    model(serving={"image": f"{REGISTRY}/runtime:1"}),
    model(gpu={"count": 1}, scaling={"maxGPUs": 2}),
    model(**container(image=f"{REGISTRY}/log-shipper:1")),
    adapted({"name": "law", "uri": "hf://deepseek-ai/law"}, {"name": "careful", "budgetScale": "2"}),
]


@pytest.mark.parametrize("manifest", ALLOWED, ids=lambda manifest: json.dumps(manifest["spec"]))
def test_what_a_rule_allows_is_accepted(team: Team, manifest: dict[str, Any]) -> None:
    assert create(team.kubectl, manifest) == ""


IMAGES = (
    f"images come from {REGISTRY}; use one of those, or leave spec.serving.image out for the runtime that "
    "the operator was installed with"
)
GPUS = "a model may have 2 GPUs in all; set spec.scaling.maxGPUs to 2 or less"
POD_GPUS = "GPUs are asked for with spec.gpu, where spec.scaling.maxGPUs counts them"
REFUSED = [
    (model(serving={"image": "docker.io/x/y:1"}), "image docker.io/x/y:1", IMAGES),
    (model(serving={"image": f"{REGISTRY}-evil/y:1"}), f"image {REGISTRY}-evil/y:1", IMAGES),
    (model(**container(image="busybox")), "image busybox", IMAGES),
    (model(uri="hf://other/m"), "model hf://other/m", f"weights come from {', '.join(SOURCES)}"),
    (model(uri="pvc://claim/m"), "model pvc://claim/m", f"weights come from {', '.join(SOURCES)}"),
    (
        adapted({"name": "careful", "budgetScale": "2"}, {"name": "law", "uri": "hf://other/law"}),
        "model hf://other/law",
        f"weights come from {', '.join(SOURCES)}",
    ),
    (model(gpu={"count": 1}), "spec.scaling.maxGPUs", GPUS),
    (model(gpu={"count": 1}, scaling={"maxGPUs": 3}), "spec.scaling.maxGPUs", GPUS),
    (
        model(**container(image=f"{REGISTRY}/x:1", resources={"limits": {"nvidia.com/gpu": 1}})),
        "spec.podTemplate",
        POD_GPUS,
    ),
    (model(podTemplate={"spec": {"resourceClaims": [{"name": "x"}]}}), "spec.podTemplate", POD_GPUS),
]


@pytest.mark.parametrize(("manifest", "what", "why"), REFUSED, ids=[f"{w}: {y}" for _, w, y in REFUSED])
def test_what_a_rule_forbids_is_refused_in_words_that_say_what_to_do(
    team: Team, manifest: dict[str, Any], what: str, why: str
) -> None:
    assert f"denied request: {what}: {team.where} {why}\n" in create(team.kubectl, manifest)


def test_other_namespaces_are_left_alone(team: Team, kubectl: Kubectl) -> None:
    assert [create(kubectl, manifest) for manifest, _, _ in REFUSED] == [""] * len(REFUSED)


def test_a_model_older_than_the_rule_can_still_be_labelled_scaled_changed_and_deleted(team: Team) -> None:
    team.kubectl("label", "cmodel/older", "example.com/team=a")
    team.kubectl("scale", "cmodel/older", "--replicas=0")
    team.kubectl.patch("cmodel", "older", {"spec": {"control": {"pathPruning": {"maxPaths": 4}}}})
    team.kubectl("delete", "cmodel/older", "--dry-run=server")


@pytest.mark.parametrize(
    "change",
    [
        {"serving": {"image": "docker.io/mine:2"}},
        {"model": {"uri": "hf://other/model-2"}},
        {"scaling": {"maxGPUs": 4}},
    ],
    ids=json.dumps,
)
def test_a_model_older_than_the_rule_cannot_change_into_something_else_forbidden(
    team: Team, change: dict[str, Any]
) -> None:
    command = ["patch", "cmodel", "older", "--dry-run=server", "--type=merge", "--patch"]
    refused = team.kubectl.run(*command, json.dumps({"spec": change}))
    assert team.where in refused.stderr


def test_a_model_older_than_the_rule_can_change_into_something_allowed(team: Team) -> None:
    change = {"serving": {"image": f"{REGISTRY}/runtime:1"}, "model": {"uri": "hf://deepseek-ai/R1"}}
    command = ["patch", "cmodel", "older", "--dry-run=server", "--type=merge", "--patch"]
    team.kubectl(*command, json.dumps({"spec": change}))
