"""GPUs in the loop: no pods where they can't be had, what was had in the status, news of nodes."""

import asyncio
from typing import Any

import pytest
from controllable_operator.api import API_VERSION, KIND
from controllable_operator.cluster import Cluster
from controllable_operator.discovery import discover
from controllable_operator.errors import InvalidSpec, NotFound, Unplaceable
from controllable_operator.gpu_inventory import GpuInventory
from controllable_operator.kinds import (
    CLAIM_TEMPLATE,
    DEVICE_CLASS,
    NODE,
    POD,
    RESOURCE_CLAIM,
    RESOURCE_SLICE,
    Kind,
)
from controllable_operator.placement import Gpus, inventory, plan
from controllable_operator.placement.ask import Ask
from controllable_operator.reconcile import MODEL, Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.watches import Watches, refill
from gpu_objects import DEVICE_CLASS as CLASS
from gpu_objects import claim, gpu_node, resource_slice

BOARD = resource_slice(partition2=2)
BY_DRA = inventory([], [BOARD], [CLASS])
BY_LABELS = inventory([gpu_node()])
PLAIN = inventory([gpu_node(product="")])


class Server:
    """An API server that takes everything, and remembers kinds in order."""

    def __init__(self, **gpu: Any) -> None:
        self.store, self.version = Store(), 1
        self.applied: list[str] = []
        self.quotas: list[dict[str, Any]] = []
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

    def list(self, *_: Any) -> tuple[list[dict[str, Any]], str]:
        return self.quotas, "1"

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

    def reconcile(self, gpus: Gpus) -> float | None:
        context = Context(
            self,  # type: ignore[arg-type]
            self.store,
            Settings(runtime_image="runtime:1"),
            lambda: Cluster(gpus=gpus),
        )
        return reconcile(context, "test", "pair")

    def condition(self, kind: str) -> tuple[str, str]:
        found = self.told(kind)
        return found["status"], found["reason"]

    def told(self, kind: str) -> dict[str, str]:
        return next(c for c in self.model["status"]["conditions"] if c["type"] == kind)

    def pod(self, name: str, ready: bool = False) -> dict[str, Any]:
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
        server.reconcile(PLAIN)
    assert server.applied == []
    assert server.condition("Ready") == ("False", "InsufficientCapacity")
    assert server.condition("TopologySatisfied") == ("False", "MechanismUnavailable")
    assert server.condition("Stalled") == ("True", "InsufficientCapacity")
    assert server.model["status"]["observedGeneration"] == 1


def test_where_no_gpus_are_to_be_seen_a_pod_waits_for_an_autoscaler_and_says_what_for() -> None:
    server = Server()
    server.reconcile(Gpus())
    words = {"status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    server.store.put(POD, scheduled(server.pod("pair-1"), **words) | {"spec": {}})
    server.reconcile(Gpus())
    assert server.condition("TopologySatisfied") == ("True", "Guaranteed")
    assert server.condition("Ready") == ("False", "InsufficientCapacity")
    assert server.told("Ready")["message"].startswith(
        "each replica asks for 2 GPUs that NVLink connects on one node, and the cluster has no GPUs, free"
    )
    assert not any(c["type"] == "Stalled" for c in server.model["status"]["conditions"])
    server.reconcile(BY_DRA)
    assert server.model["status"]["placement"]["level"] == "NVLinkPartition"


def test_once_the_gpus_are_there_the_template_comes_before_the_pods() -> None:
    server = Server()
    with pytest.raises(Unplaceable):
        server.reconcile(PLAIN)
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


def labelled(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["metadata"] |= {"labels": {"app.kubernetes.io/instance": "pair"}, "resourceVersion": "101"}
    return manifest


def test_what_a_pod_got_is_read_back_from_its_claim() -> None:
    server = Server(nvlink="preferred")
    server.reconcile(BY_DRA)
    server.store.put(POD, server.pod("pair-1", ready=False))
    server.store.put(RESOURCE_CLAIM, labelled(claim("pair-1", ["gpu-1", "gpu-2"], request="gpus/any")))
    board = BOARD | {"metadata": {"name": "s", "resourceVersion": "102"}}
    server.store.put(RESOURCE_SLICE, board)
    server.reconcile(BY_DRA)
    assert server.condition("TopologySatisfied") == ("False", "Fallback")


def test_what_connects_gpus_is_not_looked_up_for_those_who_do_not_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controllable_operator.placing.by_claims", lambda *_: pytest.fail("looked up"))
    server = Server(count=1, nvlink="none")
    server.reconcile(BY_DRA)
    server.store.put(POD, server.pod("pair-1", ready=True))
    server.reconcile(BY_DRA)
    assert server.condition("TopologySatisfied") == ("False", "NotRequested")


def test_a_driver_that_is_away_restarts_no_pod_that_serves() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    server.store.put(POD, server.pod("pair-1", ready=True))
    server.store.put(RESOURCE_CLAIM, labelled(claim("pair-1", ["gpu-2", "gpu-3"])))
    server.applied.clear()
    server.reconcile(Gpus())
    assert server.applied == []
    assert server.model["status"]["placement"]["level"] == "NVLinkPartition"
    assert server.condition("TopologySatisfied") == ("Unknown", "Unknown")
    message = server.told("TopologySatisfied")["message"]
    assert message.startswith("nothing tells of the GPUs of 1 of 1 replicas (pair-1), which run on")
    assert "as its pods were made; planned anew, it would be: no node has GPUs yet" in message


def test_labels_that_are_away_for_a_moment_are_no_lack_of_nvlink() -> None:
    server = Server()
    server.reconcile(BY_LABELS)
    server.store.put(POD, server.pod("pair-1", ready=True))
    server.store.put(NODE, numbered(gpu_node(), 102))
    server.reconcile(BY_LABELS)
    assert server.condition("TopologySatisfied") == ("True", "Satisfied")
    server.store.put(NODE, numbered(gpu_node(product=""), 103))
    server.reconcile(inventory([gpu_node(product="")]))
    assert server.condition("TopologySatisfied") == ("Unknown", "Unknown")


@pytest.mark.parametrize(
    "gone",
    [
        {"status": {"phase": "Failed", "reason": "UnexpectedAdmissionError"}},
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z"}},
    ],
)
def test_a_pod_that_is_no_replica_any_more_is_not_judged(gone: dict[str, Any]) -> None:
    server = Server(nvlink="preferred")
    server.reconcile(BY_LABELS)
    server.store.put(NODE, numbered(gpu_node(), 102))
    server.store.put(NODE, numbered(gpu_node("node-2", product="NVIDIA-L40S"), 103))
    server.store.put(POD, server.pod("pair-1", ready=True))
    other = server.pod("pair-2") | {"spec": {"nodeName": "node-2"}}
    server.store.put(POD, other)
    server.reconcile(BY_LABELS)
    assert server.condition("TopologySatisfied") == ("False", "Fallback")
    metadata = other["metadata"] | {"resourceVersion": "104"} | gone.get("metadata", {})
    server.store.put(POD, other | gone | {"metadata": metadata})
    server.reconcile(BY_LABELS)
    assert server.condition("TopologySatisfied") == ("True", "Satisfied")
    assert server.model["status"]["replicas"] == 1


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


# --- GPUs that can't be had ---------------------------------------------------------------------------------


def scheduled(pod: dict[str, Any], **condition: str) -> dict[str, Any]:
    told = [{"type": "PodScheduled", **condition}] if condition else []
    return pod | {"status": {"conditions": told}}


def test_a_pod_without_a_claim_for_want_of_quota_says_so_with_the_numbers() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    server.store.put(POD, scheduled(server.pod("pair-1")))  # the scheduler says nothing of such a pod
    assert server.reconcile(BY_DRA) == 10.0, "nobody tells that it waits, nor when the quota has room"
    assert server.condition("Ready") == ("False", "Progressing")

    name = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
    status = {"hard": {name: "4"}, "used": {name: "3"}}
    server.quotas = [{"metadata": {"name": "team"}, "status": status}]
    server.reconcile(BY_DRA)
    assert server.condition("Ready") == ("False", "InsufficientCapacity")
    message = server.told("Ready")["message"]
    assert message.startswith("no GPUs may be claimed: exceeded quota: team, ")
    for part in (f"requested: {name}=2", f"used: {name}=3", f"limited: {name}=4", "raise the quota"):
        assert part in message


def test_a_pod_that_has_its_claim_does_not_ask_the_quota() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    pod = server.pod("pair-1", ready=False)
    pod["status"] = {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "pair-1-gpus"}]}
    server.store.put(POD, pod)
    name = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
    server.quotas = [{"metadata": {"name": "full"}, "status": {"hard": {name: "2"}, "used": {name: "2"}}}]
    assert server.reconcile(BY_DRA) is None, "nothing is to be asked again"
    assert server.condition("Ready") == ("False", "Progressing")


def test_a_pod_that_finds_no_gpus_is_told_with_what_is_asked_for_and_what_is_there() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    reason = {"status": "False", "reason": "Unschedulable", "message": "1 cannot allocate all claims"}
    server.store.put(POD, scheduled(server.pod("pair-1"), **reason))
    server.reconcile(BY_DRA)
    assert server.condition("Ready") == ("False", "InsufficientCapacity")
    message = server.told("Ready")["message"]
    assert message.startswith(
        "each replica asks for 2 GPUs that NVLink connects on one node, and the cluster"
    )
    assert "has 8 x NVIDIA H100 80GB HBM3, free or not; ask for fewer GPUs, add nodes, or wait" in message
    assert message.endswith("The scheduler: 1 cannot allocate all claims")


def test_of_a_pod_that_finds_no_gpus_the_clusters_numbers_are_those_of_now() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    told = {"status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 no claim"}
    server.store.put(POD, scheduled(server.pod("pair-1"), **told))
    server.reconcile(BY_DRA)
    more = inventory([], [BOARD, resource_slice("node-2", partition2=2)], [CLASS])
    pod = scheduled(server.pod("pair-1"), **told | {"message": "0/2 nodes are available: 2 no claim"})
    pod["metadata"]["resourceVersion"] = "103"
    server.store.put(POD, pod)
    server.reconcile(BY_DRA)
    assert server.told("Ready")["message"].endswith(
        "has 8 x NVIDIA H100 80GB HBM3, free or not; ask for fewer GPUs, "
        "add nodes, or wait until others end. The scheduler: 0/1 nodes are available: 1 no claim"
    )
    server.reconcile(more)
    assert "has 16 x NVIDIA H100 80GB HBM3" in server.told("Ready")["message"]


def test_a_pod_that_waits_for_a_queue_is_on_its_way() -> None:
    server = Server()
    server.reconcile(BY_DRA)
    server.store.put(POD, scheduled(server.pod("pair-1"), status="False", reason="SchedulingGated"))
    server.reconcile(BY_DRA)
    assert server.condition("Ready") == ("False", "Progressing")
    assert "scheduling gates" in server.told("Ready")["message"]


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


def test_gpus_are_counted_and_models_looked_at_when_something_changed_and_not_at_every_heartbeat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[Gpus] = []
    monkeypatch.setattr(
        "controllable_operator.gpu_inventory.inventory",
        lambda *told: counted.append(inventory(*told)) or counted[-1],
    )
    store, changes, both_served = Store(), [], []
    gpus = GpuInventory(store, "", lambda: bool(both_served), lambda: changes.append(1))
    store.put(NODE, numbered(gpu_node(), 1))
    gpus.look()
    assert (len(counted), len(changes), gpus.gpus.nodes[0].total) == (1, 1, 8)
    store.put(NODE, numbered(gpu_node(), 2))
    gpus.look()
    assert (len(counted), len(changes)) == (1, 1)
    store.put(NODE, numbered(gpu_node(gpus=4), 3))
    gpus.look()
    assert (len(counted), len(changes), gpus.gpus.nodes[0].total) == (2, 2, 4)
    both_served.append(1)
    gpus.look()
    assert gpus.gpus.multi_node
    store.remove(NODE, numbered(gpu_node(gpus=4), 4))
    gpus.look()
    assert gpus.gpus.nodes == ()


def test_once_the_dra_api_is_gone_models_are_placed_by_labels() -> None:
    store = Store()
    store.put(NODE, numbered(gpu_node(), 1))
    store.put(RESOURCE_SLICE, numbered(BOARD, 2))
    store.put(DEVICE_CLASS, numbered(CLASS, 3))
    gpus = GpuInventory(store, "", lambda: False, lambda: None)
    gpus.look()
    pair = Ask(2, "required")
    assert plan(pair, gpus.gpus).mechanism == "DRA"

    client: Any = WithoutDra()
    offered = discover(client, Cluster(frozenset({CLAIM_TEMPLATE})))
    assert not offered.has(CLAIM_TEMPLATE)
    for kind in (RESOURCE_SLICE, DEVICE_CLASS):
        refill(client, store, kind)
    gpus.look()
    placement = plan(pair, gpus.gpus)
    assert (placement.mechanism, placement.level) == ("DevicePlugin", "NVSwitchNode")


class WithoutDra:
    """An API server that serves everything but resource.k8s.io."""

    def served(self, api_version: str) -> set[str] | None:
        return None if api_version.startswith("resource.k8s.io/") else set()

    def list(self, kind: Kind, *_: Any) -> None:
        raise NotFound(f"{kind.plural}: the server could not find the requested resource", 404)


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
