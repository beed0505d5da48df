"""Boards that are only told of, for the real scheduler, and a model that asks for GPUs of them."""

import json
import time
from typing import Any

from cluster_fixtures import Kubectl, eventually

Manifest = dict[str, Any]

ANYWHERE = {"spec": {"tolerations": [{"operator": "Exists"}]}}
# An operator looks a second after it is told; the next test's model must not be planned for these boards.
_SETTLED_SECONDS = 1.5
_ROOM = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}


class Boards:
    """Nodes, and ResourceSlices of theirs, without machines: pods are scheduled there and never started."""

    def __init__(self, cluster: Kubectl) -> None:
        self._cluster, self._prefix = cluster, f"board-{time.time_ns():x}"
        self._made: list[str] = []

    def tell(
        self, name: str = "0", *, devices: Manifest | None = None, labels: Manifest | None = None
    ) -> None:
        """What there is to know of a board from now on.

        Args:
            name: of the board, in this test.
            devices: a ResourceSlice, None for none.
            labels: a Node whose labels and allocatable GPUs are to be told, None for none.
        """
        node = f"{self._prefix}-{name}"
        told = labels or {"metadata": {}, "status": {"allocatable": {"nvidia.com/gpu": "0"}}}
        meta = {
            "name": node,
            "labels": told["metadata"].get("labels", {}) | {"kubernetes.io/hostname": node},
        }
        self._cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": meta})
        room = _ROOM | told["status"]["allocatable"]
        patch = {"status": {"capacity": room, "allocatable": room}}
        self._cluster("patch", "node", node, "--subresource=status", f"--patch={json.dumps(patch)}")
        self._made += [f"node/{node}", f"resourceslice/{node}-gpu"]
        if devices is None:
            self._cluster("delete", f"resourceslice/{node}-gpu", "--ignore-not-found")
            return
        spec = devices["spec"] | {"nodeName": node, "pool": devices["spec"]["pool"] | {"name": node}}
        kind = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"}
        self._cluster.apply(kind | {"metadata": {"name": f"{node}-gpu"}, "spec": spec})

    def settle(self) -> None:
        """Wait until the operator knows of them."""
        time.sleep(_SETTLED_SECONDS)

    def forget(self) -> None:
        """There is none any more."""
        if self._made:
            self._cluster("delete", *dict.fromkeys(self._made), "--wait=false", "--ignore-not-found")
            self.settle()
        self._made = []


def model(name: str = "pair", **spec: Any) -> Manifest:
    own = {"model": {"uri": "image:///models/nano"}, "podTemplate": ANYWHERE}
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": name},
        "spec": own | spec,
    }


def start(kubectl: Kubectl, level: str, name: str = "pair", **spec: Any) -> None:
    """Make a model, but no pod of it before the operator knows the boards."""
    kubectl.apply(model(name, suspend=True, **spec))
    eventually(lambda: placement(kubectl, name).get("level") == level)
    kubectl.apply(model(name, **spec))


def condition(kubectl: Kubectl, kind: str, name: str = "pair") -> tuple[str, str, str]:
    """Status, reason and message; empty where there is no such condition."""
    status = (kubectl.get("cmodel", name) or {}).get("status", {})
    found = next((c for c in status.get("conditions", []) if c["type"] == kind), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def placement(kubectl: Kubectl, name: str = "pair") -> dict[str, str]:
    return (kubectl.get("cmodel", name) or {}).get("status", {}).get("placement", {})


def devices(kubectl: Kubectl, name: str = "pair") -> list[list[str]]:
    """Devices of each claim that is allocated."""
    claims = kubectl.list("resourceclaims", f"app.kubernetes.io/instance={name}")
    allocations = [claim.get("status", {}).get("allocation") for claim in claims]
    return sorted(
        sorted(result["device"] for result in found["devices"]["results"]) for found in allocations if found
    )


def pods(kubectl: Kubectl, name: str = "pair") -> set[str]:
    """uids of its pods."""
    found = kubectl.list("pods", f"app.kubernetes.io/instance={name}")
    return {pod["metadata"]["uid"] for pod in found}


def serves(kubectl: Kubectl, name: str = "pair") -> bool:
    """Whether the model is ready, its pods that have a node being told to be: no kubelet does it here."""
    for pod in kubectl.list("pods", f"app.kubernetes.io/instance={name}"):
        if pod["spec"].get("nodeName"):
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            patch = json.dumps({"status": status})
            kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", f"--patch={patch}")
    return condition(kubectl, "Ready", name)[:2] == ("True", "Serving")
