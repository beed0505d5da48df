"""What a namespace holds, as watches tell: an answer costs nothing, however often one asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from kubernetes import client

from benchmarks.placement.arrivals import Device
from benchmarks.placement.replicas import NAMESPACE
from dev.gpus.topologies import DRIVER, index_of

Manifest = dict[str, Any]


class Mirror:
    """Pods and claims as the API server has them, kept up by watches."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pods: dict[str, Manifest] = {}
        self._claims: dict[str, Manifest] = {}  # by their pod
        core, resources = client.CoreV1Api(), client.ResourceV1Api()
        watches: tuple[tuple[Callable[..., Any], dict[str, Manifest], Callable[[Manifest], str]], ...] = (
            (core.list_namespaced_pod, self._pods, lambda pod: str(pod["metadata"]["name"])),
            (resources.list_namespaced_resource_claim, self._claims, _owner),
        )
        for listing, objects, key in watches:
            threading.Thread(target=self._follow, args=(listing, objects, key), daemon=True).start()

    def devices(self, pod: str) -> list[Device] | None:
        """What a pod got, None while it has nothing."""
        if not self._pods.get(pod, {}).get("spec", {}).get("nodeName"):
            return None
        allocation = self._claims.get(pod, {}).get("status", {}).get("allocation")
        if not allocation:
            return None
        results = [item for item in allocation["devices"]["results"] if item["driver"] == DRIVER]
        return [(item["pool"], index_of(item["device"])) for item in results]

    def scheduled(self) -> int:
        """How many pods have a node."""
        with self._changed:
            return sum(1 for pod in self._pods.values() if pod["spec"].get("nodeName"))

    def refused(self, pod: str) -> bool:
        """Whether the scheduler has said no, for now."""
        conditions = self._pods.get(pod, {}).get("status", {}).get("conditions") or []
        return any(item["type"] == "PodScheduled" and item["status"] == "False" for item in conditions)

    def gone(self, pod: str) -> bool:
        """Whether nothing of a pod is left."""
        return pod not in self._pods and pod not in self._claims

    def wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether it came to hold within so many seconds."""
        with self._changed:
            return self._changed.wait_for(holds, seconds)

    def _follow(
        self,
        listing: Callable[..., Any],
        objects: dict[str, Manifest],
        key: Callable[[Manifest], str],
    ) -> None:
        seen: dict[str, str] = {}
        while True:  # the API server ends a watch that is read too slowly: go on where it stood
            lines = listing(NAMESPACE, watch=True, timeout_seconds=3600, _preload_content=False, **seen)
            for line in lines:
                event = json.loads(line)
                with self._changed:
                    if event["type"] == "DELETED":
                        objects.pop(key(event["object"]), None)
                    else:
                        objects[key(event["object"])] = event["object"]
                    self._changed.notify_all()
                seen["resource_version"] = event["object"]["metadata"]["resourceVersion"]


def _owner(claim: Manifest) -> str:
    return str(claim["metadata"]["ownerReferences"][0]["name"])
