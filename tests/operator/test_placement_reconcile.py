"""GPUs in the loop: no pods where they can't be had, what was had in the status, news of nodes."""

import asyncio
from typing import Any

import pytest
from controllable_operator.api import API_VERSION, KIND
from controllable_operator.cluster import Cluster
from controllable_operator.errors import InvalidSpec, Unplaceable
from controllable_operator.gpu_inventory import GpuInventory
from controllable_operator.kinds import DEVICE_CLASS, NODE, POD, RESOURCE_CLAIM, RESOURCE_SLICE, Kind
from controllable_operator.placement import Gpus, inventory
from controllable_operator.reconcile import MODEL, Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.watches import Watches
from gpu_objects import DEVICE_CLASS as CLASS
from gpu_objects import claim, gpu_node, resource_slice

BOARD = resource_slice(partition2=2)
BY_DRA = inventory([], [BOARD], [CLASS])


class Server:
    """An API server that takes everything, and remembers kinds in order."""

    def __init__(self, **gpu: Any) -> None:
        self.store, self.version = Store(), 1
        self.applied: list[str] = []
        meta = {"name": "pair", "namespace": "test", "uid": "u", "generation": 1, "resourceVersion": "1"}
        spec = {"model": {"uri": "image:///models/nano"}, "gpu": {"count": 2, "nvlink": "required"} | gpu}
        self.model: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": meta,
            "spec": spec,
        }
        self.store.put(MODEL, self.model)

    def get(self, *_: Any) -> None:
        return None

    def delete(self, *_: Any) -> None:
        return None

    def create(self, *_: Any) -> None:
        return None

    def apply(self, kind: Kind, manifest: dict[str, Any], subresource: str | None = None) -> dict[str, Any]:
        self.version += 1
        stamp = {"uid": f"uid-{self.version}", "resourceVersion": str(self.version)}
        if subresource:
            self.model |= {
                "metadata": self.model["metadata"] | {"resourceVersion": stamp["resourceVersion"]},
                "status": manifest["status"],
            }
            return self.model
        self.applied.append(kind.name)
        return manifest | {"metadata": manifest["metadata"] | stamp}

    def reconcile(self, gpus: Gpus) -> None:
        context = Context(
            self,  # type: ignore[arg-type]
            self.store,
            Settings(runtime_image="runtime:1"),
            lambda: Cluster(gpus=gpus),
        )
        reconcile(context, "test", "pair")

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(c for c in self.model["status"]["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    def pod(self, name: str, ready: bool) -> dict[str, Any]:
        (deployment,) = (
            item for item in self.store.owned(Kind("apps/v1", "Deployment", "deployments"), "test", "pair")
        )
        meta = deployment["spec"]["template"]["metadata"]
        return {
            "metadata": meta | {"name": name, "namespace": "test", "resourceVersion": "100"},
            "spec": {"nodeName": "node-1"},
            "status": {
                "conditions": [
                    {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": "True" if ready else "False"},
                ]
            },
        }


def test_where_nvlink_can_not_be_had_nothing_is_made_and_the_status_says_why() -> None:
    server = Server()
    with pytest.raises(Unplaceable):
        server.reconcile(Gpus())
    assert server.applied == []
    assert server.condition("Ready") == ("False", "InsufficientCapacity")
    assert server.condition("TopologySatisfied") == ("False", "MechanismUnavailable")
    assert server.condition("Stalled") == ("True", "InsufficientCapacity")
    assert server.model["status"]["observedGeneration"] == 1


def test_once_the_gpus_are_there_the_template_comes_before_the_pods() -> None:
    server = Server()
    with pytest.raises(Unplaceable):
        server.reconcile(Gpus())
    server.reconcile(BY_DRA)
    made = server.applied
    assert made.index("ResourceClaimTemplate") < made.index("Deployment")
    assert server.condition("TopologySatisfied") == ("True", "Guaranteed")
    assert server.model["status"]["placement"]["level"] == "NVLinkPartition"
    assert not any(c["type"] == "Stalled" for c in server.model["status"]["conditions"])


@pytest.mark.parametrize("serving", [False, True])
def test_gpus_that_can_not_share_the_model_are_refused_and_pods_of_before_left_alone(serving: bool) -> None:
    server = Server(count=3, nvlink="preferred")
    if serving:
        server.reconcile(BY_DRA)
        server.store.put(POD, server.pod("pair-1", ready=True))
        server.applied.clear()
    server.model["spec"]["model"] = {"uri": "hf://Qwen/Qwen2.5-7B"}
    server.model["metadata"] |= {"generation": 2, "resourceVersion": "1000"}
    server.version = 1000
    server.store.put(MODEL, server.model)
    with pytest.raises(InvalidSpec, match=r"set spec\.gpu\.count to 1 or 2 or 4"):
        server.reconcile(BY_DRA)
    assert server.applied == []
    assert server.condition("Ready") == ("False", "InvalidSpec")
    assert server.condition("FitsMemory") == ("False", "Indivisible")


def test_a_stopped_model_needs_no_gpus() -> None:
    server = Server()
    server.model["spec"]["suspend"] = True
    server.reconcile(Gpus())
    assert "Deployment" in server.applied
    assert server.condition("Ready") == ("True", "Suspended")


def test_what_a_pod_got_is_read_back_from_its_claim() -> None:
    server = Server(nvlink="preferred")
    server.reconcile(BY_DRA)
    server.store.put(POD, server.pod("pair-1", ready=False))
    got = claim("pair-1", ["gpu-1", "gpu-2"], request="gpus/any")
    got["metadata"] |= {"labels": {"app.kubernetes.io/instance": "pair"}, "resourceVersion": "101"}
    server.store.put(RESOURCE_CLAIM, got)
    board = BOARD | {"metadata": {"name": "s", "resourceVersion": "102"}}
    server.store.put(RESOURCE_SLICE, board)
    server.reconcile(BY_DRA)
    assert server.condition("TopologySatisfied") == ("False", "Fallback")


def test_a_driver_that_is_away_restarts_no_pod_that_serves() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    server.store.put(POD, server.pod("pair-1", ready=True))
    server.applied.clear()
    server.reconcile(Gpus())
    assert server.applied == []
    assert server.model["status"]["placement"]["level"] == "NVLinkPartition"


def test_without_gpus_there_are_no_conditions_about_them() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    server.model["spec"]["gpu"] = {"count": 0}
    server.model["metadata"] |= {"generation": 2, "resourceVersion": "1000"}
    server.version = 1000
    server.store.put(MODEL, server.model)
    server.reconcile(BY_DRA)
    types = {condition["type"] for condition in server.model["status"]["conditions"]}
    assert not types & {"TopologySatisfied", "FitsMemory"}
    assert "placement" not in server.model["status"]


# --- news ---------------------------------------------------------------------------------------------------


def numbered(manifest: dict[str, Any], version: int) -> dict[str, Any]:
    return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(version)}}


def test_of_a_node_only_what_tells_of_gpus_is_kept() -> None:
    store = Store()
    node = numbered(gpu_node(), 1)
    node["metadata"]["labels"]["kubernetes.io/hostname"] = "node-1"
    node["status"]["images"] = [{"names": ["huge"]}]
    store.put(NODE, node)
    (kept,) = store.all(NODE)
    assert kept["status"] == {"allocatable": {"nvidia.com/gpu": "8"}}
    assert all("gpu" in label for label in kept["metadata"]["labels"])


def test_what_a_node_tells_is_news_to_no_single_model() -> None:
    node = numbered(gpu_node(), 1)
    node["metadata"]["labels"]["app.kubernetes.io/instance"] = "pair"
    assert Store().put(NODE, node) == set()


def test_models_are_looked_at_again_when_gpus_come_and_not_at_every_heartbeat() -> None:
    store, changes = Store(), []
    gpus = GpuInventory(store, "", lambda: False, lambda: changes.append(1))
    store.put(NODE, numbered(gpu_node(), 1))
    gpus.look()
    store.put(NODE, numbered(gpu_node(), 2))
    gpus.look()
    assert (len(changes), gpus.gpus.nodes[0].total) == (1, 8)


def test_a_slice_that_is_told_is_looked_at_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controllable_operator.gpu_inventory._SETTLE_SECONDS", 0.0)

    async def run() -> Gpus:
        store = Store()
        gpus = GpuInventory(store, "", lambda: False, lambda: None)
        watches = Watches(None, store, lambda _: None, gpus.note)  # type: ignore[arg-type]
        watches.told(RESOURCE_SLICE, "ADDED", numbered(BOARD, 1))
        watches.told(DEVICE_CLASS, "ADDED", numbered(CLASS, 2))
        await asyncio.sleep(0.01)
        return gpus.gpus

    assert asyncio.run(run()) == BY_DRA
