"""What the operator is given to do: namespaces, nodes that only pretend, and models on them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import kubernetes
import psutil
import yaml

from dev.cluster import build

GROUP, VERSION, PLURAL = "serving.controllable.dev", "v1alpha1", "controllablemodels"
KWOK = build.Module("kwok")
NODES = 4
T = TypeVar("T")


def at_once(call: Callable[[T], object], items: list[T], threads: int = 8) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, items))


class Fleet:
    """`size` models in `namespaces` namespaces of the cluster of KUBECONFIG."""

    def __init__(self, size: int, namespaces: int) -> None:
        kubernetes.config.load_kube_config()
        self.core = kubernetes.client.CoreV1Api()
        self.custom = kubernetes.client.CustomObjectsApi()
        self.namespaces = [f"fleet-{index:02d}" for index in range(namespaces)]
        self.models = [(self.namespaces[i % namespaces], f"model-{i:04d}") for i in range(size)]

    def create_namespaces(self) -> None:
        for name in self.namespaces:
            self.core.create_namespace({"metadata": {"name": name}})

    def create_models(self) -> float:
        """Returns when the first one was sent."""
        start = time.monotonic()
        at_once(self._create, self.models)
        return start

    def patch(self, model: tuple[str, str], spec: dict[str, Any]) -> None:
        merge = "application/merge-patch+json"
        self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, model[0], PLURAL, model[1], {"spec": spec}, _content_type=merge
        )

    def delete(self) -> None:
        """Everything, and wait until it is gone."""
        at_once(lambda name: self.core.delete_namespace(name), self.namespaces)
        while {item.metadata.name for item in self.core.list_namespace().items} & set(self.namespaces):
            time.sleep(1)

    def versions(self) -> dict[str, str]:
        """Versions of all models, and of all their children, by kind and name."""
        paths = [
            f"/apis/{GROUP}/{VERSION}/{PLURAL}",
            "/apis/apps/v1/deployments",
            "/api/v1/services",
            "/api/v1/configmaps",
            "/apis/networking.k8s.io/v1/networkpolicies",
        ]
        found = {}
        for path in paths:
            for item in self.list(path):
                meta = item["metadata"]
                if meta["namespace"] in self.namespaces and meta["name"] != "kube-root-ca.crt":
                    found[f"{path} {meta['namespace']}/{meta['name']}"] = meta["resourceVersion"]
        return found

    def list(self, path: str) -> list[dict[str, Any]]:
        answer = self.core.api_client.call_api(
            *self.core.api_client.param_serialize("GET", path, auth_settings=["BearerToken"])
        )
        return list(json.loads(answer.read())["items"])

    def _create(self, model: tuple[str, str]) -> None:
        namespace, name = model
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ControllableModel",
            "metadata": {"name": name},
            "spec": {"model": {"uri": "image:///models/nano"}},
        }
        self.custom.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, body)


@contextmanager
def without_policy_enforcer() -> Iterator[None]:
    """The local cluster's own stand-in for a CNI reads all pods every second; no pod of KWOK's needs it."""
    commands = {process: " ".join(process.cmdline()) for process in psutil.process_iter()}
    enforcers = [process for process, command in commands.items() if "dev.cluster.netpol" in command]
    for process in enforcers:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in enforcers:
            process.send_signal(signal.SIGCONT)


@contextmanager
def pretended_nodes(logs: Path) -> Iterator[None]:
    """Nodes of KWOK, whose pods are ready at once; the real node takes no more pods meanwhile."""
    config = logs / "kwok-stages.yaml"
    config.write_text("---\n".join(stage.read_text() for stage in _stages()))
    fleet = Fleet(0, 1)
    real = [node.metadata.name for node in fleet.core.list_node().items]
    for name in real:
        fleet.core.patch_node(name, {"spec": {"unschedulable": True}})
    with (logs / "kwok.log").open("wb") as log:
        command = [str(_binary()), f"--config={config}", "--manage-all-nodes=false"]
        # without a Lease a node counts as lost after 50 s, and its pods as not ready
        command += ["--node-lease-duration-seconds=40"]
        command += ["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]
        kwok = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        capacity = {"cpu": "1000k", "memory": "1Pi", "ephemeral-storage": "1Pi", "pods": "10k"}
        for index in range(NODES):
            meta = {"name": f"fake-{index}", "annotations": {"kwok.x-k8s.io/node": "fake"}}
            meta["labels"] = {"kubernetes.io/hostname": f"fake-{index}"}  # type: ignore[assignment]
            status = {"capacity": capacity, "allocatable": capacity}
            fleet.core.create_node({"metadata": meta, "status": status})
        yield
    finally:
        kwok.terminate()
        kwok.wait(10)
        for index in range(NODES):
            fleet.core.delete_node(f"fake-{index}")
        for name in real:
            fleet.core.patch_node(name, {"spec": {"unschedulable": False}})


def _binary() -> Path:
    return build.folder(KWOK) / "kwok"


def _stages() -> list[Path]:
    """KWOK's own stages: nodes that become ready and stay so, pods that run, are ready and end at once."""
    command = ["go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"]
    found = subprocess.run(command, cwd=KWOK.folder, capture_output=True, text=True, check=True)
    stages = Path(found.stdout.strip()) / "kustomize/stage"
    folders = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    files = [file for folder in folders for file in sorted((stages / folder).glob("*.yaml"))]
    return [file for file in files if yaml.safe_load(file.read_text())["kind"] == "Stage"]
