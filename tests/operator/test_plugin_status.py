"""`kubectl controllable status`: what a model owns, why it is not ready, what to do."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from controllable_operator.plugin import status
from controllable_operator.plugin.connection import Connection
from controllable_operator.plugin.errors import NotFound
from controllable_operator.plugin.view import emit
from plugin_objects import (
    FakeConnection,
    as_stored,
    children,
    condition,
    event,
    model_manifest,
    owned,
    replica_set,
)
from rich.console import RenderableType

Manifest = dict[str, Any]
MakePod = Callable[..., Manifest]

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SNAPSHOT = """\
nano in namespace test: Degraded, 0 of 1 pods answer; image:///models/nano

✖ ControllableModel/nano  PodsNotReady  60m
├── … Deployment/nano  0/1 ready  60m
│   ├── … ReplicaSet/nano-new  0/1 ready  60m
│   │   └── ✖ Pod/nano-1  CrashLoopBackOff, 3 restarts  60m
│   │       ├── ✔ fetch  done
│   │       ├── … frontend  running, not ready  11h
│   │       └── ✖ triton  CrashLoopBackOff, 3 restarts
│   └── · ReplicaSet/nano-old  no pods wanted  60m
├── ✔ ConfigMap/nano-engine-HASH  60m
├── ✔ ControllerRevision/nano-HASH  60m
├── ✔ NetworkPolicy/nano  60m
└── ✔ Service/nano  60m

What to do
✖ PodsNotReady: container triton exited with code 1
  → a pod fell silent and is restarted by itself; its log says why: \
kubectl -n test logs -l app.kubernetes.io/instance=nano --all-containers --prefix

Last lines of container triton in pod nano-1
  RuntimeError: no such file

Conditions
    CONDITION     STATUS   REASON         SINCE   MESSAGE
✖   Ready         False    PodsNotReady   60m     container triton exited with code 1
✖   ModelLoaded   False    EngineDead     60m     container triton exited with code 1

Events
LAST   COUNT   TYPE      REASON    OBJECT       MESSAGE
2m     ×7      Warning   BackOff   pod/nano-1   Back-off restarting failed container
"""
PULL = "image runtime:1: not found"
CRASH = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
    "restartCount": 3,
    "ready": False,
}


def text(content: RenderableType) -> str:
    stream = io.StringIO()
    emit(content, stream)
    return stream.getvalue()


def connected(fake: FakeConnection) -> Connection:
    return cast(Connection, fake)


class Owned:
    """A model, its children, a ReplicaSet and a pod."""

    def __init__(self, model: Manifest, pod: Manifest, ready: int = 0) -> None:
        self.model = model
        self.children = children(model)
        self.deployment = next(item for item in self.children if item["kind"] == "Deployment")
        self.deployment["status"] = {"readyReplicas": ready, "updatedReplicas": 1}
        self.new = replica_set(self.deployment, "nano-new", ready=ready)
        self.old = replica_set(self.deployment, "nano-old", replicas=0)
        self.pod = owned(self.new, {"apiVersion": "v1", "kind": "Pod"} | pod)

    @property
    def all(self) -> list[Manifest]:
        return [self.model, *self.children, self.old, self.new, self.pod]


@pytest.fixture
def crashing(make_pod: MakePod) -> Owned:
    ready = condition("Ready", "False", "PodsNotReady", "container triton exited with code 1")
    loaded = condition("ModelLoaded", "False", "EngineDead", "container triton exited with code 1")
    model = model_manifest("nano", ready, loaded, phase="Degraded", replicas=1, readyReplicas=0)
    return Owned(model, make_pod("loading", triton=CRASH))


@pytest.fixture
def serving(make_pod: MakePod) -> Owned:
    model = model_manifest(
        "nano",
        condition("Ready", "True", "Serving", "1 of 1 pods answer"),
        phase="Ready",
        replicas=1,
        readyReplicas=1,
        endpoints={"openai": "http://nano.test.svc/v1"},
    )
    return Owned(model, make_pod("ready"), ready=1)


def look(fake: FakeConnection) -> Manifest:
    return status.gather(connected(fake), "test", "nano")


def without_hashes(text: str) -> str:
    """`text` without the part of a name that is another one after every change of what pods are made of."""
    return re.sub(r"-[0-9a-f]{16}\b", "-HASH", text)


def names(node: Manifest) -> set[str]:
    return {without_hashes(f"{node['kind']}/{node['name']}")} | {
        n for child in node["children"] for n in names(child)
    }


def test_the_tree_holds_all_that_is_owned_down_to_containers(serving: Owned) -> None:
    tree = look(FakeConnection(serving.all))["tree"]
    assert names(tree) == {
        *("ControllableModel/nano", "Deployment/nano", "ReplicaSet/nano-new", "ReplicaSet/nano-old"),
        *("Pod/nano-1", "container/fetch", "container/triton", "container/frontend"),
        *("Service/nano", "ConfigMap/nano-engine-HASH", "ControllerRevision/nano-HASH"),
        "NetworkPolicy/nano",
    }


def test_a_kind_nobody_knew_of_appears_once_something_owns_it(serving: Owned) -> None:
    claim = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "gpus"}}
    fake = FakeConnection([*serving.all, owned(serving.pod, claim)])
    assert "ResourceClaim/gpus" in names(look(fake)["tree"])


def test_what_others_own_is_not_told(serving: Owned) -> None:
    other = model_manifest("other", condition("Ready", "True", "Serving"))
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}
    loose = as_stored(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "no-one's", "namespace": "test"}}
    )
    fake = FakeConnection([*serving.all, other, owned(other, config), loose])
    assert not names(look(fake)["tree"]) & {
        "ConfigMap/theirs",
        "ConfigMap/no-one's",
        "ControllableModel/other",
    }


def test_kinds_that_may_not_be_listed_are_named_and_the_rest_is_shown(serving: Owned) -> None:
    found = look(FakeConnection(serving.all, forbidden=["secrets", "configmaps", "events"]))
    assert found["notLookedAt"] == ["configmaps", "events", "secrets"]
    assert "ConfigMap/nano-engine-HASH" not in names(found["tree"])
    assert "Pod/nano-1" in names(found["tree"])
    assert "not looked at, for want of rights or an answer: configmaps, events, secrets" in text(
        status.render(found, NOW)
    )


def test_a_crashing_pod_is_told_with_advice_and_the_end_of_its_log(crashing: Owned) -> None:
    fake = FakeConnection(crashing.all, log="loading\nRuntimeError: no such file\n")
    found = look(fake)
    (finding,) = found["findings"]  # ModelLoaded says the same, so it isn't told twice
    assert (finding["type"], finding["reason"], finding["health"]) == ("Ready", "PodsNotReady", "bad")
    assert "kubectl -n test logs -l app.kubernetes.io/instance=nano" in finding["advice"]
    assert found["log"] == {
        "pod": "nano-1",
        "container": "triton",
        "lines": ["loading", "RuntimeError: no such file"],
    }


def test_a_log_that_the_message_quotes_already_is_not_shown_again(crashing: Owned) -> None:
    crashing.model["status"]["conditions"][0]["message"] = "container triton: RuntimeError: no such file"
    assert look(FakeConnection(crashing.all, log="RuntimeError: no such file\n"))["log"] is None
    crashing.model["status"]["conditions"][0]["message"] = "no such file"
    assert look(FakeConnection(crashing.all, log="RuntimeError: no such file\n"))["log"] is None


def test_of_a_container_that_runs_again_the_log_before_is_read(crashing: Owned, make_pod: MakePod) -> None:
    again = CRASH | {"state": {"running": {"startedAt": "2026-01-01T11:59:00Z"}}}
    pod = make_pod("loading", triton=again)
    fake = FakeConnection(Owned(crashing.model, pod).all, log="RuntimeError: no such file")
    look(fake)
    assert fake.asked[-1][1] == {"container": "triton", "tailLines": "10", "previous": "true"}


def test_an_image_that_is_not_there_has_no_log_to_read(make_pod: MakePod) -> None:
    pulling = {"state": {"waiting": {"reason": "ImagePullBackOff"}}, "ready": False}
    model = model_manifest("nano", condition("Ready", "False", "ImagePullFailed", PULL))
    fake = FakeConnection(Owned(model, make_pod("fetching", fetch=pulling)).all, log="not to be read")
    found = look(fake)
    assert found["log"] is None
    assert not [path for path, _ in fake.asked if path.endswith("/log")]
    assert "spec.serving.image" in found["findings"][0]["advice"]


def test_a_generation_that_the_operator_has_not_seen_is_told_first(serving: Owned) -> None:
    serving.model["metadata"]["generation"] = 2
    finding = look(FakeConnection(serving.all))["findings"][0]
    assert finding["reason"] == "NotReconciled"
    assert finding["message"] == "the operator has dealt with generation 1, the newest is 2"


def test_a_model_that_nobody_has_dealt_with_leads_to_the_operator() -> None:
    found = look(FakeConnection([model_manifest("nano")]))
    assert [finding["reason"] for finding in found["findings"]] == ["NotReconciled"]
    assert "app.kubernetes.io/name=controllable-operator" in found["findings"][0]["advice"]


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("nanno", "did you mean nano?"),
        ("elsewhere", "there is one in namespace other: add -n other"),
        ("zzz", "there are nano"),
    ],
)
def test_a_name_that_is_not_there_leads_to_one_that_is(asked: str, hint: str) -> None:
    fake = FakeConnection([model_manifest("nano"), model_manifest("elsewhere", namespace="other")])
    with pytest.raises(NotFound) as error:
        status.gather(connected(fake), "test", asked)
    assert str(error.value) == f"there is no model {asked} in namespace test; {hint}"


def test_what_a_person_sees_of_a_crashing_model(crashing: Owned) -> None:
    told = event(
        crashing.pod, "BackOff", "Back-off restarting failed container", "2026-01-01T11:58:00Z", 7, "Warning"
    )
    fake = FakeConnection(crashing.all, log="RuntimeError: no such file\n", events=[told])
    assert without_hashes(text(status.render(look(fake), NOW))) == SNAPSHOT


def test_without_unicode_the_marks_are_letters(crashing: Owned) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", errors="replace")
    emit(status.render(look(FakeConnection(crashing.all)), NOW), stream)
    lines = written.getvalue().decode("ascii").splitlines()
    assert lines[2] == "x ControllableModel/nano  PodsNotReady  60m"
    assert lines[3] == "+-- ~ Deployment/nano  0/1 ready  60m"


def test_parts_of_the_status_without_a_view_of_their_own_are_shown(serving: Owned) -> None:
    serving.model["status"] |= {
        "rollout": {"strategy": "Canary", "weight": 10, "since": "2026-01-01T11:57:00Z"},
        "scaling": {
            "decisions": [{"signal": "waitingRequests", "from": 1, "to": 3, "time": "2026-01-01T11:00:00Z"}]
        },
    }
    shown = text(status.render(look(FakeConnection(serving.all)), NOW))
    assert "Rollout\n  strategy Canary, weight 10, since 3m ago\n" in shown
    assert "  signal waitingRequests, from 1, to 3, time 60m ago\n" in shown


def test_of_many_pods_only_those_that_are_not_well_show_their_containers(
    serving: Owned, make_pod: MakePod
) -> None:
    def pod(name: str, stage: str) -> Manifest:
        made = make_pod(stage)
        made["metadata"]["name"] = name
        return owned(serving.new, {"apiVersion": "v1", "kind": "Pod"} | made)

    more = [pod(f"nano-{i}", "ready") for i in range(2, 5)] + [pod("nano-9", "loading")]
    shown = text(status.render(look(FakeConnection([*serving.all, *more])), NOW))
    assert shown.count("triton") == 1
    assert shown.count("Pod/") == 5
