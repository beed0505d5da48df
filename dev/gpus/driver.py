"""What a DRA driver does on its node: make a claim's devices known to the container runtime, and forget them.

Devices reach containers by CDI (Container Device Interface): the runtime reads from a file what a device
changes in a container. These GPUs only set a variable: GPU_DEVICE_3=GPU-<uuid>.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dev.gpus.topologies import DRIVER, Topology, gpu_uuid, index_of, is_partition

CDI_KIND = f"k8s.{DRIVER}/claim"

Manifest = dict[str, Any]


class Unpreparable(Exception):
    """A claim can't be had as it is allocated. The text reaches the pod's events."""


class Driver:
    """Prepares claims on one node; idempotent, as kubelet repeats its calls.

    Args:
        claim: reads the ResourceClaim of a namespace and name.
        folder: where the container runtime looks for CDI files.
    """

    def __init__(self, topology: Topology, claim: Callable[[str, str], Manifest], folder: Path) -> None:
        self._topology, self._claim, self._folder = topology, claim, folder

    def prepare(self, request: Manifest) -> Manifest:
        """kubelet's NodePrepareResources: an answer for each claim, its devices or an error."""
        return {"claims": {claim["uid"]: self._prepare(claim) for claim in request.get("claims", [])}}

    def unprepare(self, request: Manifest) -> Manifest:
        """kubelet's NodeUnprepareResources."""
        claims = request.get("claims", [])
        for claim in claims:
            self._file(claim["uid"]).unlink(missing_ok=True)
        return {"claims": {claim["uid"]: {} for claim in claims}}

    def _prepare(self, asked: Manifest) -> Manifest:
        try:
            claim = self._claim(asked["namespace"], asked["name"])
            if claim["metadata"]["uid"] != asked["uid"]:
                raise Unpreparable(f"claim {asked['name']} was replaced by another of its name")
            results = allocated(claim)
            check(self._topology, results)
        except (Unpreparable, OSError) as error:
            return {"error": str(error)}
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._file(asked["uid"])
        fresh = file.with_suffix(".new")  # the runtime, which reads *.json, finds all of it or nothing
        fresh.write_text(json.dumps(cdi_spec(asked["uid"], results)))
        fresh.rename(file)
        return {"devices": [prepared(asked["uid"], result) for result in results]}

    def _file(self, uid: str) -> Path:
        return self._folder / f"{CDI_KIND.replace('/', '-')}_{uid}.json"


def allocated(claim: Manifest) -> list[Manifest]:
    """This driver's devices among those that a claim was allocated."""
    allocation = claim.get("status", {}).get("allocation")
    if not allocation:
        raise Unpreparable(f"claim {claim['metadata']['name']} has no devices allocated")
    return [result for result in allocation["devices"]["results"] if result["driver"] == DRIVER]


def check(topology: Topology, results: list[Manifest]) -> None:
    """Fabric Manager activates whole partitions only: of other sets of GPUs, NVIDIA's driver says no."""
    gpus = [index_of(result["device"]) for result in results]
    if topology.partitioned and not is_partition(topology, gpus):
        names = ", ".join(result["device"] for result in results)
        raise Unpreparable(f"{names} are no partition of Fabric Manager")


def cdi_spec(uid: str, results: list[Manifest]) -> Manifest:
    """What the devices of a claim change in a container."""
    return {
        "cdiVersion": "0.5.0",
        "kind": CDI_KIND,
        "devices": [
            {"name": f"{uid}-{result['device']}", "containerEdits": {"env": [_variable(result)]}}
            for result in results
        ],
    }


def prepared(uid: str, result: Manifest) -> Manifest:
    """A device as kubelet wants to know it. Of an alternative (gpus/linked) it wants the request's name."""
    return {
        "requestNames": [result["request"].partition("/")[0]],
        "poolName": result["pool"],
        "deviceName": result["device"],
        "cdiDeviceIds": [f"{CDI_KIND}={uid}-{result['device']}"],
    }


def _variable(result: Manifest) -> str:
    index = index_of(result["device"])
    return f"GPU_DEVICE_{index}={gpu_uuid(result['pool'], index)}"
