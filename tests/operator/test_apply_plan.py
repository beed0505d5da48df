"""What is written and what is deleted, decided before anything is."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.apply import Plan, key_of, plan
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.drift import stamped
from controllable_operator.errors import NameConflict
from controllable_operator.settings import Settings

Manifest = dict[str, Any]


class World:
    """A model, what it wants, and what exists."""

    def __init__(self, model: ControllableModel, settings: Settings) -> None:
        self.model, self.wanted = model, desired(model, settings, Cluster())
        self.live = {key_of(manifest): copy.deepcopy(stamped(manifest)) for manifest in self.wanted}
        for index, manifest in enumerate(self.live.values()):
            manifest["metadata"]["uid"] = f"child-{index}"

    def plan(self) -> Plan:
        return plan(self.model, self.wanted, self.live)


@pytest.fixture
def world(make_model: Callable[..., ControllableModel], settings: Settings) -> World:
    return World(make_model(), settings)


def test_nothing_is_done_where_all_is_as_wanted(world: World) -> None:
    assert world.plan() == Plan([], [])


def test_everything_is_applied_in_order_where_nothing_exists(world: World) -> None:
    world.live = {}
    assert [manifest["kind"] for manifest in world.plan().applies] == [m["kind"] for m in world.wanted]


def test_a_changed_child_is_applied_to_exactly_that_object(world: World) -> None:
    service = world.live["Service", "nano"]
    service["spec"]["ports"][0]["targetPort"] = 1
    (apply,) = world.plan().applies
    assert apply["kind"] == "Service"
    assert apply["metadata"]["uid"] == service["metadata"]["uid"]


def test_a_child_that_is_no_longer_wanted_is_deleted(world: World) -> None:
    world.wanted = [manifest for manifest in world.wanted if manifest["kind"] != "NetworkPolicy"]
    assert [manifest["kind"] for manifest in world.plan().deletes] == ["NetworkPolicy"]


def test_a_child_on_its_way_out_is_not_deleted_again(world: World) -> None:
    world.wanted = [manifest for manifest in world.wanted if manifest["kind"] != "NetworkPolicy"]
    world.live["NetworkPolicy", "nano"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert world.plan().deletes == []


def test_what_carries_our_labels_but_has_another_owner_is_not_deleted(world: World) -> None:
    foreign = copy.deepcopy(next(m for (kind, _), m in world.live.items() if kind == "ConfigMap"))
    foreign["metadata"] |= {"name": "other", "ownerReferences": [{"uid": "somebody", "controller": True}]}
    world.live["ConfigMap", "other"] = foreign
    assert world.plan().deletes == []


@pytest.mark.parametrize(
    "foreign",
    [
        {"labels": {}, "ownerReferences": []},
        {"labels": {"app.kubernetes.io/instance": "nano"}, "ownerReferences": []},
        {"ownerReferences": [{"uid": "somebody", "controller": True}]},
    ],
    ids=["nobody's", "nobody's, with some of our labels", "somebody else's"],
)
def test_a_foreign_object_of_the_same_name_stops_everything(world: World, foreign: Manifest) -> None:
    world.live = {("Service", "nano"): world.live["Service", "nano"]}
    world.live["Service", "nano"]["metadata"] |= foreign
    with pytest.raises(NameConflict, match="Service nano exists and does not belong to this model"):
        world.plan()


def test_an_orphan_of_a_model_of_the_same_name_is_taken_over(world: World) -> None:
    del world.live["Service", "nano"]["metadata"]["ownerReferences"]
    assert [manifest["kind"] for manifest in world.plan().applies] == ["Service"]
