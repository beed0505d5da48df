"""Rollouts through `reconcile`: what becomes of the children, where server and kubelets obey at once."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.api import API_VERSION, KIND
from controllable_operator.cluster import Cluster
from controllable_operator.desired.common import TEMPLATE_HASH
from controllable_operator.kinds import CHILD_KINDS, DEPLOYMENT, HTTP_ROUTE, MODEL, POD, Kind
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.traffic import Traffic, Unreadable

Manifest = dict[str, Any]
MakePod = Callable[..., Manifest]

CANARY: Manifest = {"strategy": "Canary", "steps": [10, 50], "interval": "1s"}
SEVERAL = 12  # calls, more than any step of a rollout needs


class Server:
    """An API server that takes everything; its watches tell the store at once."""

    def __init__(self, **spec: Any) -> None:
        self.store = Store()
        self._versions = map(str, itertools.count(1))
        self.events: list[str] = []
        spec = {"model": {"uri": "image:///models/nano"}} | spec
        metadata = {"name": "nano", "namespace": "test", "uid": "model", "generation": 1}
        self._put(MODEL, {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        return self.store.get(kind, namespace, name)

    def create(self, _: Kind, manifest: Manifest) -> None:
        self.events.append(manifest["reason"])

    def apply(self, kind: Kind, manifest: Manifest, subresource: str | None = None) -> Manifest:
        before = self.store.get(kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        if subresource == "status":
            assert before is not None
            return self._put(kind, before | {"status": manifest["status"]})
        if kind.name == "ConfigMap" and before is not None:
            assert before["data"] == manifest["data"], "it is immutable"
        metadata = {"uid": f"{kind.name} {manifest['metadata']['name']}"} | manifest["metadata"]
        return self._put(kind, manifest | {"metadata": metadata})

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        self.store.remove(kind, manifest | {"metadata": manifest["metadata"] | self._next_version()})

    def change(self, **spec: Any) -> None:
        model = copy.deepcopy(self.model)
        model["metadata"]["generation"] += 1
        model["spec"] |= spec
        self._put(MODEL, model)

    def obey(self, make_pod: MakePod, stage: str = "ready", canary: str = "ready") -> None:
        """Let there be the pods that the Deployments ask for, and no others."""
        for pod in self.store.owned(POD, "test", "nano"):
            self.delete(POD, pod)
        for deployment in self.store.owned(DEPLOYMENT, "test", "nano"):
            template, name = deployment["spec"]["template"], deployment["metadata"]["name"]
            for number in range(deployment["spec"]["replicas"]):
                pod = make_pod(canary if name == "nano-canary" else stage)
                metadata = {"name": f"{name}-{number}", "namespace": "test", "uid": f"{name}-{number}"}
                self._put(POD, pod | {"metadata": template["metadata"] | metadata})

    @property
    def model(self) -> Manifest:
        found = self.store.get(MODEL, "test", "nano")
        assert found is not None
        return found

    @property
    def rollout(self) -> Manifest:
        return dict(self.model["status"]["rollout"])

    def named(self, kind: str) -> dict[str, Manifest]:
        """The children of a kind by name."""
        found = (*CHILD_KINDS, HTTP_ROUTE)
        children = [c for k in found if k.name == kind for c in self.store.owned(k, "test", "nano")]
        return {child["metadata"]["name"]: child for child in children}

    def _put(self, kind: Kind, manifest: Manifest) -> Manifest:
        versioned = manifest | {"metadata": manifest["metadata"] | self._next_version()}
        self.store.put(kind, versioned)
        return versioned

    def _next_version(self) -> Manifest:
        return {"resourceVersion": next(self._versions)}


class Counting:
    """Instead of the canary's own metrics."""

    def __init__(self) -> None:
        self.traffic: Traffic | None = Traffic(100, 0)

    def begin(self, *_: Any) -> None: ...
    def forget(self, *_: Any) -> None: ...
    def since_begin(self, *_: Any) -> Traffic:
        if self.traffic is None:
            raise Unreadable("the metrics of pod nano-canary-0 cannot be read: NewConnectionError")
        return self.traffic


class World:
    """A model that serves, and everything that acts on it."""

    def __init__(self, make_pod: MakePod, settings: Settings, cluster: Cluster, **spec: Any) -> None:
        self.server, self.counting, self._make_pod = Server(**spec), Counting(), make_pod
        server: Any = self.server
        reader: Any = self.counting
        self._context = Context(server, server.store, settings, lambda: cluster, traffic=reader)
        self.go()

    def once(self) -> None:
        reconcile(self._context, "test", "nano")

    def go(self, until: str = "", **stages: str) -> None:
        """Reconcile and obey by turns, until the rollout is in that state, or for long enough."""
        for _ in range(SEVERAL):
            self.once()
            if until and self.server.rollout["state"] == until:
                return
            self.server.obey(self._make_pod, **stages)
            self._wait()
        assert not until, f"{self.server.rollout} is not {until}"

    def templates(self) -> dict[str, str]:
        """The revision of each Deployment."""
        deployments = self.server.named("Deployment").items()
        return {n: d["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH] for n, d in deployments}

    def _wait(self) -> None:
        """Let the interval pass: for the model, it began longer ago."""
        model = copy.deepcopy(self.server.model)
        if rollout := model.get("status", {}).get("rollout"):
            rollout["since"] = "2026-01-01T00:00:00Z"
            self.server._put(MODEL, model)


@pytest.fixture
def world(make_pod: MakePod, settings: Settings) -> World:
    return World(make_pod, settings, Cluster(), replicas=2, rollout=CANARY)


def change(world: World) -> str:
    """Change what the pods are made of. Returns the revision that serves."""
    serving = world.templates()["nano"]
    world.server.change(control={"pathPruning": {"maxPaths": 4}})
    return serving


def test_a_new_model_has_no_canary(world: World) -> None:
    assert world.server.rollout["state"] == "Complete"
    assert set(world.templates()) == {"nano"}


def test_a_change_makes_a_canary_and_does_not_touch_what_serves(world: World) -> None:
    before = world.server.named("Deployment")["nano"]
    serving = change(world)
    world.go(until="Watching")
    assert world.server.named("Deployment")["nano"] == before
    assert world.templates()["nano-canary"] != serving
    assert world.server.named("Deployment")["nano-canary"]["spec"]["replicas"] == 1
    assert "serving.controllable.dev/track" not in world.server.named("Service")["nano"]["spec"]["selector"]


def test_while_a_canary_starts_both_configurations_are_there(world: World) -> None:
    change(world)
    world.go(until="Watching")
    configs = world.server.named("ConfigMap")
    for deployment in world.server.named("Deployment").values():
        volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
        assert volumes["config"]["configMap"]["name"] in configs
    assert len(configs) == len(world.server.named("ControllerRevision")) == 2


def test_a_good_canary_grows_step_by_step_and_is_promoted(world: World) -> None:
    serving = change(world)
    world.go(until="Promoting")
    assert world.server.rollout["step"] == 2
    assert world.server.named("Deployment")["nano-canary"]["spec"]["replicas"] == 2
    assert world.templates()["nano"] == serving
    world.go()
    assert world.server.rollout["state"] == "Complete"
    assert set(world.templates()) == {"nano"}
    assert world.templates()["nano"] != serving
    assert len(world.server.named("ConfigMap")) == len(world.server.named("ControllerRevision")) == 1
    assert [reason for reason in world.server.events if reason.startswith(("Canary", "Rollout"))] == [
        *("CanaryStarting", "CanaryWatched", "CanaryStarting", "CanaryWatched", "CanaryPromoted"),
        "RolloutComplete",
    ]


def test_a_bad_canary_goes_and_is_not_tried_again(world: World) -> None:
    serving = change(world)
    world.counting.traffic = Traffic(100, 50)
    world.go()
    assert world.server.rollout["state"] == "RolledBack"
    assert world.templates() == {"nano": serving}
    assert "RolledBack" in world.server.events
    conditions = {c["type"]: c for c in world.server.model["status"]["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Stalled"]["status"]) == ("False", "True")
    assert conditions["Ready"]["observedGeneration"] == 2
    world.server.change(replicas=3)
    world.go()
    assert world.server.rollout["state"] == "RolledBack"
    assert world.server.named("Deployment")["nano"]["spec"]["replicas"] == 3


def test_a_rolled_back_model_is_well_again_once_its_spec_goes_back(world: World) -> None:
    serving = change(world)
    world.counting.traffic = Traffic(100, 50)
    world.go(until="RolledBack")
    world.server.change(control={})
    world.go()
    assert world.server.rollout["state"] == "Complete"
    assert world.templates() == {"nano": serving}
    conditions = {c["type"]: c["status"] for c in world.server.model["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    assert "Stalled" not in conditions


def test_a_canary_that_never_answers_leaves_all_as_it_was(world: World) -> None:
    serving = change(world)
    world.go(canary="loading")
    assert world.server.rollout["state"] == "Starting"
    assert world.templates()["nano"] == serving
    assert world.server.named("Deployment")["nano"]["spec"]["replicas"] == 2


def test_a_canary_that_cannot_be_judged_waits_and_says_whom_it_could_not_ask(world: World) -> None:
    serving = change(world)
    world.counting.traffic = None
    world.go()
    assert (world.server.rollout["state"], world.server.rollout["step"]) == ("Watching", 1)
    assert "can't be judged: the metrics of pod nano-canary-0" in world.server.rollout["reason"]
    assert world.templates()["nano"] == serving


def test_what_serves_is_mended_and_scaled_while_a_canary_is_watched(world: World) -> None:
    serving = change(world)
    world.go(until="Watching")
    world.server.delete(DEPLOYMENT, world.server.named("Deployment")["nano"])
    world.server.change(replicas=4)
    world.once()
    assert world.templates()["nano"] == serving
    assert world.server.named("Deployment")["nano"]["spec"]["replicas"] == 4


def test_an_operator_that_is_replaced_at_any_moment_goes_on_where_it_was(
    world: World, make_pod: MakePod, settings: Settings
) -> None:
    change(world)
    states = []
    for _ in range(3 * SEVERAL):
        server: Any = world.server
        world._context = Context(server, server.store, settings, traffic=world._context.traffic)
        world.once()
        states.append((world.server.rollout["state"], world.server.rollout["step"]))
        world.server.obey(make_pod)
        world._wait()
    seen = list(dict.fromkeys(states))
    assert seen == [
        *(("Starting", 1), ("Watching", 1), ("Starting", 2), ("Watching", 2), ("Promoting", 2)),
        ("Complete", 2),
    ]


def test_a_gateway_shares_out_the_requests_by_weight(make_pod: MakePod, settings: Settings) -> None:
    rollout = CANARY | {"gateway": {"name": "public", "namespace": "gateways"}}
    world = World(make_pod, settings, Cluster(frozenset({HTTP_ROUTE})), replicas=4, rollout=rollout)

    def weights() -> dict[str, int]:
        spec = world.server.named("HTTPRoute")["nano"]["spec"]
        assert spec["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
        (rule,) = spec["rules"]
        return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}

    assert weights() == {"nano": 100}
    change(world)
    world.go(until="Watching")
    world.once()
    assert weights() == {"nano": 90, "nano-canary": 10}
    tracks = {n: s["spec"]["selector"]["serving.controllable.dev/track"] for n, s in services(world)}
    assert tracks == {"nano": "stable", "nano-canary": "canary"}
    world.go(until="Promoting")
    assert weights() == {"nano": 50, "nano-canary": 50}
    world.go()
    assert weights() == {"nano": 100}
    assert [name for name, _ in services(world)] == ["nano"]


def services(world: World) -> list[tuple[str, Manifest]]:
    return list(world.server.named("Service").items())


def test_a_rolling_update_needs_no_canary(make_pod: MakePod, settings: Settings) -> None:
    world = World(make_pod, settings, Cluster(), replicas=2)
    serving = change(world)
    world.once()
    assert world.templates()["nano"] != serving
    assert world.server.rollout["state"] == "Updating"
    world.go()
    assert world.server.rollout["state"] == "Complete"
