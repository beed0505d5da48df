"""Replicas over several nodes: their manifests before the real definitions, their pods before the scheduler.

Neither NVIDIA's DRA driver nor LeaderWorkerSet's controller runs here: its part, the pods, is done by hand.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_fixtures import ROOT, Kubectl, eventually
from gpu_boards import Boards, condition, model, placement
from gpu_objects import gpu_node

from dev.gpus.definitions import COMPUTE_DOMAINS, LEADER_WORKER_SETS, LOCAL_QUEUES, definition

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

SOON, COMING = 15.0, 30.0
SET, GROUP = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/group-index"
EIGHT = {"count": 8, "nvlink": "required"}

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def kinds_of_others(cluster: Kubectl) -> Iterator[None]:
    """The definitions as their makers publish them."""
    found = [definition(published) for published in (COMPUTE_DOMAINS, LEADER_WORKER_SETS, LOCAL_QUEUES)]
    names = [f"crd/{manifest['metadata']['name']}" for manifest in found]
    try:
        for manifest in found:
            cluster("create", "--filename=-", stdin=json.dumps(manifest))
        # A definition that has no conditions yet makes kubectl wait give up.
        established = ("wait", "--for=condition=Established", *names)
        eventually(lambda: cluster.run(*established).returncode == 0, COMING)
        yield
    finally:
        cluster("delete", "--ignore-not-found", *names)


@pytest.fixture
def rack(boards: Boards, kinds_of_others: None) -> Boards:
    """Two cliques of two nodes with four GPUs each."""
    for index in range(4):
        node = gpu_node(f"node-{index}", 4, "NVIDIA-GB200", "189471", f"rack.{index // 2}")
        boards.tell(str(index), labels=node)
    boards.settle()
    return boards


def controllable(kubectl: Kubectl, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = f"--namespace={kubectl.namespace}"
    command = [sys.executable, "-m", "controllable_operator.plugin", *arguments, where]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def printed(kubectl: Kubectl) -> str:
    image = "--runtime-image=localhost/pause:1"
    done = controllable(kubectl, "multi-node", "pair", "--output=json", image)
    assert done.returncode == 0, done.stderr
    assert "running these is not tested" in done.stderr
    return done.stdout


def test_they_are_valid_before_the_real_definitions_and_nothing_is_made_of_them(
    kubectl: Kubectl, rack: Boards
) -> None:
    kubectl.apply(model(gpu=EIGHT, replicas=2))
    eventually(lambda: placement(kubectl).get("mechanism") == "ComputeDomain", COMING)
    assert placement(kubectl)["level"] == "NVLinkClique"
    status, reason, message = condition(kubectl, "TopologySatisfied")
    assert (status, reason) == ("False", "MechanismUnavailable")
    assert "8 GPUs that NVLink connects are asked for: a clique has 8, but over several nodes" in message
    assert "kubectl controllable multi-node prints" in message

    items = json.loads(printed(kubectl))["items"]
    assert [item["kind"] for item in items] == ["ComputeDomain", "LeaderWorkerSet", "NetworkPolicy"]
    strict = ("--dry-run=server", "--validate=strict", "--output=json", "--filename=-")
    _, taken, _ = [json.loads(kubectl("create", *strict, stdin=json.dumps(item))) for item in items]
    asked = items[1]["spec"]["leaderWorkerTemplate"]
    kept = taken["spec"]["leaderWorkerTemplate"]
    assert kept["size"] == 2
    for template in ("leaderTemplate", "workerTemplate"):
        assert kept[template]["spec"]["affinity"] == asked[template]["spec"]["affinity"]
    assert not kubectl.list("pods,computedomains,leaderworkersets")


def test_a_field_that_the_definitions_do_not_know_would_be_told(kubectl: Kubectl, rack: Boards) -> None:
    kubectl.apply(model(gpu=EIGHT))
    document = json.loads(printed(kubectl))
    document["items"][1]["spec"]["leaderWorkerTemplate"]["sizes"] = 2
    strict = ("--dry-run=server", "--validate=strict", "--filename=-")
    refused = kubectl.run("create", *strict, stdin=json.dumps(document))
    assert refused.returncode != 0
    assert 'unknown field "sizes"' in refused.stderr


def test_the_scheduler_puts_each_group_into_one_clique(
    cluster: Kubectl, kubectl: Kubectl, rack: Boards
) -> None:
    kubectl.apply(model(gpu=EIGHT, replicas=2))
    domain = json.loads(printed(kubectl))["items"]
    templates = domain[1]["spec"]["leaderWorkerTemplate"]
    for index in ("0", "1"):
        for part in ("leader", "worker"):
            kubectl.apply(as_lws_would(templates[f"{part}Template"], f"{part}-{index}", index))
            eventually(lambda: node_of(kubectl, f"{part}-{index}"), SOON)  # noqa: B023
    nodes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in kubectl.list("pods")}
    assert len(set(nodes.values())) == 4
    cliques = {
        name: (cluster.get("node", node) or {})["metadata"]["labels"]["nvidia.com/gpu.clique"]
        for name, node in nodes.items()
    }
    assert cliques["leader-0"] == cliques["worker-0"] != cliques["leader-1"] == cliques["worker-1"]


def as_lws_would(template: Manifest, name: str, index: str) -> Manifest:
    """A pod of a group; without the channel, whose claim the driver would have to make."""
    labels = template["metadata"]["labels"] | {SET: "pair-nodes", GROUP: index}
    spec = {key: value for key, value in template["spec"].items() if key != "resourceClaims"}
    for container in spec["containers"]:
        container["resources"].pop("claims", None)
    meta = template["metadata"] | {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def node_of(kubectl: Kubectl, name: str) -> str | None:
    return (kubectl.get("pod", name) or {}).get("spec", {}).get("nodeName")


def test_what_is_served_is_a_capability(kubectl: Kubectl, kinds_of_others: None) -> None:
    def found() -> dict[str, str | None]:
        document = json.loads(controllable(kubectl, "capabilities", "--output=json").stdout)
        return {row["name"]: row["version"] for row in document["capabilities"]}

    eventually(lambda: found()["Kueue"], COMING)
    versions = found()
    assert (versions["ComputeDomain"], versions["LeaderWorkerSet"]) == ("v1beta1", "v1")
    assert versions["Kueue"] in {"v1beta1", "v1beta2"}
    assert versions["KAI Scheduler"] is None
