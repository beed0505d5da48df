"""What is known of the cluster, whatever the order in which it is told."""

import random
from typing import Any

import pytest
from controllable_operator.api import API_VERSION, KIND
from controllable_operator.desired.common import labels
from controllable_operator.kinds import DEPLOYMENT, MODEL, POD, Kind
from controllable_operator.store import Store, owner_name

NANO = ("test", "nano")


def child(version: int, name: str = "nano", model: str = "nano", **more: Any) -> dict[str, Any]:
    meta = {"namespace": "test", "name": name, "labels": labels(model), "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {}} | more


def model(version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "test", "name": "nano", "resourceVersion": str(version)}} | more


def names(store: Store, kind: Kind = DEPLOYMENT, of: str = "nano") -> list[str]:
    return [item["metadata"]["name"] for item in store.owned(kind, "test", of)]


def test_an_object_is_found_by_its_name_and_by_its_model() -> None:
    store = Store()
    assert store.put(DEPLOYMENT, child(1)) == {NANO}
    assert store.get(DEPLOYMENT, "test", "nano") is not None
    assert names(store) == ["nano"]
    assert names(store, of="other") == []


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_not_newer_than_what_is_known_is_no_news(version: int) -> None:
    store = Store()
    store.put(DEPLOYMENT, child(5, spec={"replicas": 1}))
    assert store.put(DEPLOYMENT, child(version, spec={"replicas": 9})) == set()
    assert store.get(DEPLOYMENT, "test", "nano")["spec"] == {"replicas": 1}  # type: ignore[index]


def test_a_new_version_that_says_the_same_is_no_news() -> None:
    store = Store()
    store.put(DEPLOYMENT, child(5))
    assert store.put(DEPLOYMENT, child(6)) == set()
    assert store.put(DEPLOYMENT, child(6)) == set()
    assert store.remove(DEPLOYMENT, child(7)) == {NANO}


def test_a_late_event_does_not_bring_back_what_is_gone() -> None:
    store = Store()
    store.put(DEPLOYMENT, child(5))
    store.remove(DEPLOYMENT, child(7))
    assert store.put(DEPLOYMENT, child(6)) == set()
    assert names(store) == []
    store.put(DEPLOYMENT, child(8))  # a successor
    assert store.remove(DEPLOYMENT, child(7)) == set()
    assert names(store) == ["nano"]


def test_the_answer_to_a_write_that_comes_after_the_deletion_does_not_either() -> None:
    store = Store()
    store.remove(DEPLOYMENT, child(7))
    assert store.put(DEPLOYMENT, child(6)) == set()


def test_what_a_list_does_not_have_is_gone_unless_it_is_newer_than_the_list() -> None:
    store = Store()
    for name, version in (("stays", 3), ("gone", 4), ("younger", 9)):
        store.put(DEPLOYMENT, child(version, name, model=name))
    assert store.replace(DEPLOYMENT, [child(3, "stays", model="stays")], "5") == {("test", "gone")}
    found = {item["metadata"]["name"] for item in store.all(DEPLOYMENT)}
    assert found == {"stays", "younger"}


def test_a_child_that_changes_its_model_is_news_to_both() -> None:
    store = Store()
    store.put(DEPLOYMENT, child(1, "shared", model="a"))
    assert store.put(DEPLOYMENT, child(2, "shared", model="b")) == {("test", "a"), ("test", "b")}
    assert names(store, of="a") == []
    assert names(store, of="b") == ["shared"]


def test_events_in_any_order_end_at_the_same_state() -> None:
    told = [("put", child(v, spec={"replicas": v})) for v in (1, 2, 3, 6, 8)]
    told += [("remove", child(5)), ("remove", child(7))]
    for seed in range(50):
        store = Store()
        for change, manifest in random.Random(seed).sample(told, len(told)):
            getattr(store, change)(DEPLOYMENT, manifest)
        assert store.get(DEPLOYMENT, "test", "nano")["spec"] == {"replicas": 8}  # type: ignore[index]


def test_kinds_do_not_mix() -> None:
    store = Store()
    store.put(MODEL, model(1))
    store.put(POD, child(2, "nano-1"))
    assert names(store, POD) == ["nano-1"]
    assert names(store, DEPLOYMENT) == []
    assert store.remove(MODEL, model(3)) == {NANO}
    assert names(store, POD) == ["nano-1"]


def test_what_nobody_reads_is_not_kept() -> None:
    store = Store()
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"}
    manifest = model(1)
    manifest["metadata"] |= {"managedFields": [{"manager": "x"}], "annotations": applied}
    store.put(MODEL, manifest)
    store.put(POD, child(1, spec={"nodeName": "n", "containers": [{"name": "triton"}]}))
    kept = store.get(MODEL, "test", "nano") or {}
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"team": "a"}
    assert (store.get(POD, "test", "nano") or {})["spec"] == {"nodeName": "n"}
    assert "managedFields" in manifest["metadata"]  # what came in is left as it was


def test_a_child_belongs_to_its_owner_even_if_its_label_was_changed() -> None:
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": "nano", "uid": "1"}
    assert owner_name({"labels": labels("other"), "ownerReferences": [owner]}) == "nano"
    replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "nano-abc", "uid": "2"}
    assert owner_name({"labels": labels("nano"), "ownerReferences": [replica_set]}) == "nano"
    assert owner_name({}) is None
