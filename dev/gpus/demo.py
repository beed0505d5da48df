"""`make demo-gpu`: ten models on nodes with GPUs that are only told of, and a picture of who got which.

Operator, scheduler and API server are real; no GPU is there, and no container starts. Run by
`python -m dev.gpus demo` in a cluster that is there for it alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import kubernetes
import yaml
from controllable_operator.plugin import gpu_map
from controllable_operator.plugin.connection import Connection
from controllable_operator.plugin.gpu_map.words import asks
from controllable_operator.plugin.marks import BAD, BUSY
from kubernetes import client

from dev.cluster import alone, kwok
from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY
from dev.demo import Clock, console
from dev.gpus.fleet import FleetNode
from dev.gpus.topologies import BRIDGE, DEVICE_CLASS, TOPOLOGIES

NAMESPACE = "reasoning"
MODELS = Path(__file__).with_suffix(".yaml")
PICTURES = REPOSITORY / "build"
BY_CLAIMS = ("partitions", "hgx-a100", "bridge-pairs", "pcie")  # two nodes of each
BY_PLUGIN = "nvl72"  # and two without a DRA driver
HEALTH, METRICS = 18081, 18080  # ports of the operator; the cluster has a network of its own
PATIENCE = 30.0  # seconds, for each thing that is waited for

Manifest = dict[str, Any]


def main() -> None:
    logs = alone.logs()
    if logs is None:
        alone.run_inside("demo-gpu", "dev.gpus", ["demo"])
        return
    kubernetes.config.load_kube_config()
    connection, clock = Connection.open(), Clock()
    with kwok.running(logs):
        with clock.step("nodes with GPUs that are only told of"):
            create_fleet()
        with operator(logs / "operator.log"):
            with clock.step("models"):
                for model in yaml.safe_load_all(MODELS.read_text()):
                    place(connection, model)
            document = settled(connection)
    console.print()
    console.print(gpu_map.render(document))
    PICTURES.mkdir(exist_ok=True)
    for name, draw in (("gpus.html", gpu_map.page), ("gpus.svg", gpu_map.picture)):
        (PICTURES / name).write_text(draw(document))
        console.print(f"[bold]{PICTURES / name}[/bold]", highlight=False)
    console.print(clock.summary(), highlight=False)


def create_fleet() -> None:
    """Nodes, what their drivers tell of them, and a namespace for the models."""
    core, resources = client.CoreV1Api(), client.ResourceV1Api()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    resources.create_device_class(DEVICE_CLASS)
    for name in (*BY_CLAIMS, BY_PLUGIN):
        for ordinal in range(2):
            node = FleetNode(f"{name}-{ordinal}", TOPOLOGIES[name], ordinal)
            core.create_node(node.manifest(plugin=name == BY_PLUGIN))
            if name != BY_PLUGIN:
                resources.create_resource_slice(node.slice())


@contextmanager
def operator(log: Path) -> Iterator[None]:
    """The operator as a process, from when it is healthy."""
    crds = ["kubectl", "apply", "--server-side", f"--filename={REPOSITORY / 'crds'}"]
    subprocess.run(crds, check=True, stdout=subprocess.DEVNULL)
    settings = {"CONTROLLABLE_NVLINK_ATTRIBUTE": BRIDGE, "CONTROLLABLE_RUNTIME_IMAGE": "localhost/pause:1"}
    command = [sys.executable, "-m", "controllable_operator.cli", "run"]
    command += [f"--health-port={HEALTH}", f"--metrics-port={METRICS}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(f"the operator did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def place(connection: Connection, model: Manifest) -> None:
    """Apply a model, and tell what each of its replicas got, or why they get nothing."""
    group, _, version = model["apiVersion"].partition("/")
    client.CustomObjectsApi().create_namespaced_custom_object(
        group, version, NAMESPACE, "controllablemodels", model
    )
    wanted, name = model["spec"].get("replicas", 1), model["metadata"]["name"]
    deadline = time.monotonic() + PATIENCE
    while True:
        found = next(row for row in gpu_map.read(connection)["models"] if row["name"] == name)
        if len(found["replicas"]) == wanted or found["health"] == BAD:
            break
        if time.monotonic() > deadline:
            raise ClusterError(f"{name} has no GPUs after {PATIENCE:.0f} s: {found['message']}")
        time.sleep(0.2)
    got = ", ".join(replica["node"] for replica in found["replicas"]) or f"[red]{found['message']}[/red]"
    console.print(f"  {name}: {asks(found)} → {got}", highlight=False)


def settled(connection: Connection) -> Manifest:
    """The picture once the operator has said all there is to say."""
    deadline = time.monotonic() + PATIENCE
    while True:
        document = gpu_map.read(connection)
        if BUSY not in {model["health"] for model in document["models"]} or time.monotonic() > deadline:
            return document
        time.sleep(0.5)


def _healthy() -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{HEALTH}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False
