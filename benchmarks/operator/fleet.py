"""What the operator is given to do: namespaces, nodes that only pretend, and models on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes

from benchmarks.at_once import at_once
from dev.cluster import kwok

GROUP, VERSION, PLURAL = "serving.controllable.dev", "v1alpha1", "controllablemodels"
NODES = 4


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
def pretended_nodes(logs: Path) -> Iterator[None]:
    """Nodes of KWOK, whose pods are ready at once; the real node takes no more pods meanwhile."""
    core = Fleet(0, 1).core
    real = [node.metadata.name for node in core.list_node().items]
    for name in real:
        core.patch_node(name, {"spec": {"unschedulable": True}})
    pretended = [f"fake-{index}" for index in range(NODES)]
    try:
        with kwok.running(logs):
            for name in pretended:
                core.create_node(kwok.node(name, labels={}, resources={}))
            yield
    finally:
        for name in pretended:
            core.delete_node(name)
        for name in real:
            core.patch_node(name, {"spec": {"unschedulable": False}})
