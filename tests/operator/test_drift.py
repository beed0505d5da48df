"""When a live object has to be written again, and when it must be left alone."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.drift import APPLIED_HASH, difference, stamped
from controllable_operator.settings import Settings
from hypothesis import given
from hypothesis import strategies as st

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def children(make_model: Callable[..., ControllableModel], settings: Settings) -> dict[str, dict[str, Any]]:
    return {child["kind"]: stamped(child) for child in desired(make_model(), settings, Cluster())}


def live(wanted: dict[str, Any]) -> dict[str, Any]:
    """`wanted` as the API server would hold it: with its own additions."""
    result = copy.deepcopy(wanted)
    result["metadata"] |= {"uid": "1", "resourceVersion": "7", "managedFields": []}
    result["status"] = {"observedGeneration": 1}
    if result["kind"] == "Deployment":
        pod = result["spec"]["template"]["spec"]
        pod |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
        for container in pod["containers"]:
            container["imagePullPolicy"] = "IfNotPresent"
        pod["volumes"][0]["emptyDir"] = {}
    if result["kind"] == "Service":
        result["spec"] |= {"clusterIP": "10.0.0.1", "sessionAffinity": "None"}
    return result


def engine(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def test_what_was_applied_is_not_written_again(children: dict[str, dict[str, Any]]) -> None:
    for child in children.values():
        assert difference(child, live(child)) is None, child["kind"]


FOREIGN: list[tuple[str, str, Change]] = [
    ("an annotation", "Deployment", lambda o: o["metadata"]["annotations"].update(team="a")),
    ("a label", "Service", lambda o: o["metadata"]["labels"].update(team="a")),
    (
        "a sidecar",
        "Deployment",
        lambda o: o["spec"]["template"]["spec"]["containers"].insert(0, {"name": "mesh", "image": "mesh:1"}),
    ),
    ("an env variable", "Deployment", lambda o: engine(o)["env"].append({"name": "DEBUG", "value": "1"})),
    ("a port", "Service", lambda o: o["spec"]["ports"].append({"name": "x", "port": 9000})),
    ("a key", "ConfigMap", lambda o: o["data"].update(notes="hello")),
    (
        "a quantity written in another way",
        "Deployment",
        lambda o: engine(o)["resources"]["requests"].update(memory="1024Mi"),
    ),
]


@pytest.mark.parametrize(("what", "kind", "change"), FOREIGN, ids=[what for what, _, _ in FOREIGN])
def test_what_others_add_is_left_alone(
    children: dict[str, dict[str, Any]], what: str, kind: str, change: Change
) -> None:
    current = live(children[kind])
    change(current)
    assert difference(children[kind], current) is None


DRIFT: list[tuple[str, str, Change]] = [
    ("the number of replicas", "Deployment", lambda o: o["spec"].update(replicas=9)),
    ("the image", "Deployment", lambda o: engine(o).update(image="other")),
    ("an argument", "Deployment", lambda o: engine(o)["args"].append("--help")),
    ("a removed env variable", "Deployment", lambda o: engine(o)["env"].pop()),
    ("a removed container", "Deployment", lambda o: o["spec"]["template"]["spec"]["containers"].pop()),
    ("a request", "Deployment", lambda o: engine(o)["resources"]["requests"].update(memory="2Gi")),
    ("a removed label", "Service", lambda o: o["metadata"]["labels"].clear()),
    ("one more label in the selector", "Service", lambda o: o["spec"]["selector"].update(version="2")),
    ("the target port", "Service", lambda o: o["spec"]["ports"][0].update(targetPort=1)),
    ("the engine's configuration", "ConfigMap", lambda o: o["data"].update({"engine.json": "{}"})),
    ("one more rule", "NetworkPolicy", lambda o: o["spec"]["ingress"].append({})),
    (
        "one more label of a peer",
        "NetworkPolicy",
        lambda o: o["spec"]["ingress"][0]["from"][0].update(podSelector={"matchLabels": {"a": "b"}}),
    ),
    ("an owner taken away", "ConfigMap", lambda o: o["metadata"].pop("ownerReferences")),
]


@pytest.mark.parametrize(("what", "kind", "change"), DRIFT, ids=[what for what, _, _ in DRIFT])
def test_what_others_change_of_ours_is_written_again(
    children: dict[str, dict[str, Any]], what: str, kind: str, change: Change
) -> None:
    current = live(children[kind])
    change(current)
    assert difference(children[kind], current) is not None


def test_what_the_server_takes_for_absent_is_not_missed(children: dict[str, dict[str, Any]]) -> None:
    custom = copy.deepcopy(children["Deployment"])
    pod = custom["spec"]["template"]["spec"]
    current = live(children["Deployment"])
    pod |= {"hostNetwork": False, "tolerations": [], "nodeSelector": {}, "priorityClassName": ""}
    engine(custom).update({"tty": False, "workingDir": ""})
    assert difference(custom, current) is None
    pod["automountServiceAccountToken"] = current["spec"]["template"]["spec"]["automountServiceAccountToken"]
    del current["spec"]["template"]["spec"]["automountServiceAccountToken"]  # false, and that is not absent
    assert difference(custom, current) is not None


def test_what_we_no_longer_want_is_taken_back(children: dict[str, dict[str, Any]]) -> None:
    before = copy.deepcopy(children["Deployment"])
    del before["metadata"]["annotations"]
    engine(before)["env"].append({"name": "OLD", "value": "1"})
    current = live(stamped(before))
    assert difference(children["Deployment"], current) is not None


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_the_stamp_follows_the_content(data: dict[str, str]) -> None:
    manifest = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}
    again = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": dict(reversed(data.items()))}
    other = {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": data | {"more": "of it", "and": "more"}}
    stamp = stamped(manifest)["metadata"]["annotations"][APPLIED_HASH]
    assert stamped(again)["metadata"]["annotations"][APPLIED_HASH] == stamp
    if other["data"] != data:
        assert stamped(other)["metadata"]["annotations"][APPLIED_HASH] != stamp
    assert "annotations" not in manifest["metadata"]
