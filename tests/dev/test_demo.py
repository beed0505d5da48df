"""What the demo does when things aren't as on a fresh machine."""

import subprocess
from types import SimpleNamespace

import pytest

from dev import demo
from dev.cluster.errors import Unfit

IMAGES = {"runtime": "localhost/runtime:2", "operator": "localhost/operator:2"}


def checked(monkeypatch, status, said):
    monkeypatch.setattr(
        demo.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=status, stderr=said)
    )


def test_a_machine_that_can_run_no_cluster_is_served_without_one_and_told_why(monkeypatch):
    checked(monkeypatch, Unfit.exit_status, "this cluster needs root\n")
    assert demo.unfit() == "this cluster needs root"


def test_any_other_failure_of_the_check_is_the_demos_failure(monkeypatch):
    checked(monkeypatch, 1, "apt-get update failed: no route")
    with pytest.raises(demo.DemoError, match="no route"):
        demo.unfit()


def test_the_check_ends_with_the_status_that_means_unfit():
    line = "import os; os.geteuid = lambda: 1000; from dev.cluster.__main__ import main; main()"
    command = [demo.sys.executable, "-c", line, "check"]
    done = subprocess.run(command, cwd=demo.ROOT, capture_output=True, text=True)
    assert done.returncode == Unfit.exit_status, done.stderr
    assert "needs root" in done.stderr


@pytest.mark.parametrize("known", [True, False], ids=["helm 3.17", "older"])
def test_definitions_applied_by_hand_are_taken_over_where_helm_can(monkeypatch, known):
    lines = []

    def run(*command, stdin=""):
        lines.append(command)
        return "--take-ownership  if set, …" if known and "--help" in command else ""

    monkeypatch.setattr(demo, "run", run)
    demo.deploy(IMAGES)
    (definitions,) = [line for line in lines if "controllable-crds" in line]
    assert ("--take-ownership" in definitions) == known


def model(status="True", observed=1):
    ready = {"type": "Ready", "status": status, "reason": "Why", "message": "because"}
    return {
        "metadata": {"generation": 1},
        "status": {"conditions": [ready | {"observedGeneration": observed}]},
    }


def deployment(image=IMAGES["runtime"], observed=7, **counts):
    pods = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    containers = [{"name": name, "image": image} for name in ("triton", "frontend")]
    return {
        "metadata": {"generation": 7},
        "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}},
        "status": {"observedGeneration": observed} | pods | counts,
    }


@pytest.mark.parametrize(
    ("model", "deployment", "expected"),
    [
        (model(), deployment(), ""),
        ({"metadata": {"generation": 1}}, None, "operator"),
        (model(observed=0), deployment(), "operator"),
        (model("False"), deployment(), "Why: because"),
        (model(), None, "operator"),
        (model(), deployment("localhost/runtime:1"), "earlier image"),
        (model(), deployment(observed=6), "being replaced"),
        (model(), deployment(replicas=2), "being replaced"),
        (model(), deployment(availableReplicas=0), "being replaced"),
    ],
)
def test_it_waits_for_the_pods_of_the_image_that_it_brought(model, deployment, expected):
    said = demo.pending(model, deployment, IMAGES["runtime"])
    assert expected in said
    assert bool(said) == bool(expected)
