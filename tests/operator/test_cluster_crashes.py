"""The operator dies after any single write, on a real API server: the end is always the same."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cluster_fixtures import PAUSE, Kubectl, Manifest, eventually
from controllable_operator.client import Client
from controllable_operator.kinds import WATCHED_KINDS
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.watches import refill

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

CHILDREN = "deployments,services,configmaps,controllerrevisions,networkpolicies,poddisruptionbudgets"
OURS = "app.kubernetes.io/managed-by=controllable-operator"
MOST_WRITES = 20


class Death(BaseException):
    """As if by SIGKILL: nothing that runs in the process can catch it."""


class Mortal(Client):
    """A client whose process dies once the API server has taken its n-th write."""

    dies_after: int | None = None
    writes = 0

    def _call(self, verb: str, *arguments: Any, **more: Any) -> Manifest:
        answer = super()._call(verb, *arguments, **more)
        if verb not in ("get", "list"):
            self.writes += 1
            if self.writes == self.dies_after:
                raise Death
        return answer


def live(namespace: str, name: str, dies_after: int | None = None) -> bool:
    """One life of an operator, from its start. Returns whether it got to the end."""
    client, store = Mortal.from_environment(), Store()
    client.dies_after = dies_after
    for kind in WATCHED_KINDS:
        refill(client, store, kind)
    try:
        reconcile(Context(client, store, Settings(runtime_image=PAUSE)), namespace, name)
    except Death:
        return False
    return True


def model(name: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": name},
        # no pods: their progress would be part of the end
        "spec": {"model": {"uri": "image:///models/nano"}, "replicas": 0} | spec,
    }


def end(kubectl: Kubectl, name: str) -> str:
    """Children and status of a model, as far as they follow from its spec."""
    children = kubectl.list(CHILDREN, f"{OURS},app.kubernetes.io/instance={name}")
    said: list[Any] = [
        [child["kind"], child["metadata"]["name"], child.get("spec"), child.get("data")] for child in children
    ]
    said.sort(key=lambda part: str(part[:2]))
    for child in said:
        for volatile in ("clusterIP", "clusterIPs"):
            (child[2] or {}).pop(volatile, None)
    status = (kubectl.get("cmodel", name) or {})["status"]
    said.append([(c["type"], c["status"], c["reason"]) for c in status["conditions"]])
    said.append([status["phase"], status["observedGeneration"]])
    # what is derived from the name by a hash differs with it
    text = json.dumps(_without_hashes(said), sort_keys=True)
    return re.sub(r"-[0-9a-f]{16}\b", "-HASH", text.replace(name, "NAME"))


def settle(kubectl: Kubectl, name: str) -> None:
    """Live on until a change has got to its end, where no pod needs the older configuration."""

    def settled() -> bool:
        selector = f"{OURS},app.kubernetes.io/instance={name}"
        return live(kubectl.namespace, name) and len(kubectl.list("configmaps", selector)) == 1

    eventually(settled)


def _without_hashes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_hashes(item) for key, item in value.items() if not key.endswith("-hash")}
    return [_without_hashes(item) for item in value] if isinstance(value, list | tuple) else value


def deaths(attempt: Callable[[int], bool]) -> int:
    """Let it die after the first write, after the second …; returns how many deaths there were."""
    for writes in range(1, MOST_WRITES):
        if attempt(writes):
            return writes - 1
    raise AssertionError(f"more than {MOST_WRITES} writes")


def test_a_creation_that_is_cut_off_ends_like_any_other(kubectl: Kubectl, record_property: Any) -> None:
    kubectl.apply(model("whole"))
    assert live(kubectl.namespace, "whole")

    def attempt(writes: int) -> bool:
        name = f"cut-{writes}"
        kubectl.apply(model(name))
        survived = live(kubectl.namespace, name, writes)
        assert live(kubectl.namespace, name)
        assert end(kubectl, name) == end(kubectl, "whole")
        return survived

    count = deaths(attempt)
    record_property("deaths", count)
    assert count >= 5  # four children and the status


CHANGE = {
    "control": {"pathPruning": {"maxPaths": 3}},
    "networkPolicy": {"enabled": False},
}


def test_a_change_that_is_cut_off_ends_like_any_other(kubectl: Kubectl, record_property: Any) -> None:
    kubectl.apply(model("whole"))
    live(kubectl.namespace, "whole")
    kubectl.patch("cmodel", "whole", {"spec": CHANGE})
    settle(kubectl, "whole")

    def attempt(writes: int) -> bool:
        name = f"cut-{writes}"
        kubectl.apply(model(name))
        live(kubectl.namespace, name)
        kubectl.patch("cmodel", name, {"spec": CHANGE})
        survived = live(kubectl.namespace, name, writes)
        settle(kubectl, name)
        assert end(kubectl, name) == end(kubectl, "whole")
        return survived

    count = deaths(attempt)
    record_property("deaths", count)
    assert count >= 4  # configuration, Deployment, the policy's deletion, status
    assert not kubectl.list("networkpolicies", OURS)


def test_a_model_deleted_while_its_creation_was_cut_off_leaves_nothing(kubectl: Kubectl) -> None:
    def attempt(writes: int) -> bool:
        name = f"cut-{writes}"
        kubectl.apply(model(name))
        survived = live(kubectl.namespace, name, writes)
        kubectl("delete", "cmodel", name, "--wait=false")
        live(kubectl.namespace, name)  # it starts again, and finds a model that is gone or going
        return survived

    assert deaths(attempt) >= 5
    eventually(lambda: not kubectl.list(CHILDREN, OURS), timeout=30)


def test_a_second_life_writes_nothing_of_what_the_first_one_finished(kubectl: Kubectl) -> None:
    kubectl.apply(model("whole"))
    live(kubectl.namespace, "whole")
    assert live(kubectl.namespace, "whole", dies_after=1)  # the first write would be its death
