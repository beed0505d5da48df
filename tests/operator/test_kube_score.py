"""kube-score on the chart and on everything that the operator makes: no finding without an answer."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from cluster_fixtures import ROOT, helm_template, judge
from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.kinds import OPTIONAL_CHILD_KINDS
from controllable_operator.settings import Settings

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]

ANSWERS = {a["finding"]: a["reason"] for a in yaml.safe_load((ROOT / "charts/kube-score.yaml").read_text())}
HAS_ALL = Cluster(frozenset(OPTIONAL_CHILD_KINDS), custom_metrics=True)
SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "claim and GPU": {"uri": "pvc://claim/path", "gpu": {"count": 1}, "replicas": 3},
    "secret, open to all": {
        "uri": "hf://org/repo",
        "model": {"secretRef": {"name": "token"}},
        "networkPolicy": {"enabled": False},
    },
    "scaled": {"scaling": {"minReplicas": 1, "maxReplicas": 4}},
    "canary": {"replicas": 2, "rollout": {"strategy": "Canary", "gateway": {"name": "gateway"}}},
    "with limits": {"serving": {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}},
}


def findings(text: str) -> list[str]:
    """What kube-score has against manifests, as "object: finding"."""
    command = [judge("kube-score"), "score", "--output-format=json", "--kubernetes-version=v1.34", "-"]
    output = subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout
    grades_of_ok = {7, 10}  # "almost ok" and "all ok"
    return [
        f"{scored['object_name']} {comment['path']}: {comment['summary']}"
        for scored in json.loads(output)
        for check in scored["checks"]
        if not check["skipped"] and check["grade"] not in grades_of_ok
        for comment in check["comments"]
    ]


def unanswered(found: list[str]) -> list[str]:
    return [finding for finding in found if finding.split(": ", 1)[1] not in ANSWERS]


@pytest.fixture
def children(make_model: Callable[..., ControllableModel]) -> Callable[..., str]:
    def children(**spec: Any) -> str:
        made = desired(make_model(**spec), Settings(runtime_image="localhost/runtime:1"), HAS_ALL)
        return "---\n".join(map(yaml.safe_dump, made))

    return children


def test_nothing_in_the_chart_is_unanswered() -> None:
    assert unanswered(findings(helm_template("controllable-operator", "--namespace=system"))) == []


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_nothing_that_the_operator_makes_is_unanswered(
    children: Callable[..., str], spec: dict[str, Any]
) -> None:
    assert unanswered(findings(children(**spec))) == []


def test_every_answer_is_to_something_that_is_found(children: Callable[..., str]) -> None:
    text = helm_template("controllable-operator", "--namespace=system")
    found = findings(text) + [finding for spec in SPECS.values() for finding in findings(children(**spec))]
    assert set(ANSWERS) - {finding.split(": ", 1)[1] for finding in found} == set()
    assert all(len(reason) > 10 for reason in ANSWERS.values())


def test_a_manifest_that_is_wrong_would_be_found() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wrong"},
        "spec": {"containers": [{"name": "x", "image": "x:latest"}]},
    }
    assert any("Image with latest tag" in finding for finding in unanswered(findings(yaml.safe_dump(pod))))
