"""Upgrade from the first release: the definitions gain their fields, and a model that serves goes on serving.

`previous/` holds that release's charts, and the children that its operator made for a model named nano.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import PAUSE, ROOT, Kubectl, eventually
from controllable_operator.client import Client
from controllable_operator.kinds import WATCHED_KINDS
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.watches import refill

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

PREVIOUS = Path(__file__).parent / "previous"
OURS = "app.kubernetes.io/instance=nano,app.kubernetes.io/managed-by=controllable-operator"
MODEL = {
    "apiVersion": "serving.controllable.dev/v1alpha1",
    "kind": "ControllableModel",
    "metadata": {"name": "nano"},
    "spec": {"model": {"uri": "image:///models/nano"}},
}


def helm(kubectl: Kubectl, *arguments: str) -> None:
    command = ["helm", *arguments, f"--namespace={kubectl.namespace}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def release(kubectl: Kubectl) -> Iterator[str]:
    """The name of a release of the previous charts, whose operator's pods do nothing."""
    name = f"op-{kubectl.namespace}"[:40]
    crds = [str(PREVIOUS / "controllable-crds-0.1.0.tgz"), "--take-ownership"]
    helm(kubectl, "upgrade", "--install", "crds", *crds)
    repository, _, tag = PAUSE.rpartition(":")
    image = f"--set-string=image.repository={repository},image.tag={tag}"
    try:
        helm(kubectl, "install", name, str(PREVIOUS / "controllable-operator-0.1.0.tgz"), image)
        yield name
        helm(kubectl, "uninstall", name, "--wait")
    finally:
        helm(kubectl, "upgrade", "crds", str(ROOT / "charts/controllable-crds"), "--take-ownership")


@pytest.fixture
def serving(kubectl: Kubectl, release: str) -> Kubectl:
    """A namespace with a model of the previous release, and its children as that release made them."""
    model = kubectl.apply(MODEL)
    for child in json.loads((PREVIOUS / "children.json").read_text()):
        child["metadata"] |= {"namespace": kubectl.namespace}
        child["metadata"]["ownerReferences"][0]["uid"] = model["metadata"]["uid"]
        if child["kind"] == "Deployment":
            _make_ready_without_a_model(child["spec"]["template"]["spec"])
        apply = ["apply", "--server-side", "--field-manager=controllable-operator", "--filename=-"]
        kubectl(*apply, stdin=json.dumps(child))
    eventually(lambda: ready_pods(kubectl), timeout=60)
    return kubectl


def _make_ready_without_a_model(pod: dict[str, Any]) -> None:
    pod["initContainers"] = []
    for container in pod["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            container.pop(probe, None)


def ready_pods(kubectl: Kubectl) -> set[str]:
    return {
        pod["metadata"]["uid"]
        for pod in kubectl.list("pods", OURS)
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def test_an_upgrade_keeps_a_model_serving_and_brings_the_new_fields(serving: Kubectl, release: str) -> None:
    before, pods = serving.get("cmodel", "nano") or {}, ready_pods(serving)

    helm(serving, "upgrade", "crds", str(ROOT / "charts/controllable-crds"), "--take-ownership")
    helm(serving, "upgrade", release, str(ROOT / "charts/controllable-operator"), "--reset-then-reuse-values")
    after = serving.get("cmodel", "nano") or {}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    serving.patch("cmodel", "nano", {"spec": {"podTemplate": {"metadata": {"labels": {"team": "a"}}}}})

    client, store = Client.from_environment(), Store()
    context = Context(client, store, Settings(runtime_image=PAUSE))
    for kind in WATCHED_KINDS:
        refill(client, store, kind)
    reconcile(context, serving.namespace, "nano")
    eventually(lambda: len(serving.list("replicasets", OURS)) == 2)  # the new pods come up
    for _ in range(5):
        for kind in WATCHED_KINDS:
            refill(client, store, kind)
        reconcile(context, serving.namespace, "nano")
        time.sleep(0.5)
        assert ready_pods(serving) == pods  # nothing that serves goes before something else does
    assert len(serving.list("replicasets", OURS)) == 2  # and they come up once


def test_the_operator_itself_is_upgraded_in_place(serving: Kubectl, release: str) -> None:
    before = serving.get("deployment", f"{release}-controllable-operator") or {}
    helm(serving, "upgrade", release, str(ROOT / "charts/controllable-operator"), "--reset-then-reuse-values")
    after = serving.get("deployment", f"{release}-controllable-operator") or {}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["selector"] == before["spec"]["selector"]
    assert after["spec"]["replicas"] == 2


def test_an_upgrade_that_changes_nothing_restarts_nothing(kubectl: Kubectl, release: str) -> None:
    upgrade = ["upgrade", release, str(ROOT / "charts/controllable-operator"), "--reset-then-reuse-values"]
    helm(kubectl, *upgrade)
    before = kubectl.get("deployment", f"{release}-controllable-operator") or {}
    helm(kubectl, *upgrade)
    after = kubectl.get("deployment", f"{release}-controllable-operator") or {}
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
