"""Placement on the real kube-scheduler: is `required` kept, what does it cost, and what is it worth?

    python -m benchmarks.placement.scheduler [--nodes 75] [--replicas 200]

Starts the local cluster (dev/cluster) with KWOK's pretended nodes and told GPUs (dev/gpus), and gives the
scheduler the same replicas three times: by the claims that the operator writes for their intents, by claims
without an intent, and as plain nvidia.com/gpu. Writes benchmarks/placement/SCHEDULER.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import kubernetes
from controllable_operator.placement import Gpus, inventory
from kubernetes import client

from benchmarks.placement.replicas import (
    NAMESPACE,
    Replica,
    claim_template,
    draw,
    outcome,
    pod,
)
from benchmarks.placement.report import Pass, report
from dev.cluster import build, kwok, lifecycle
from dev.cluster.paths import REPOSITORY, ClusterPaths
from dev.gpus import fleet
from dev.gpus.topologies import BRIDGE, DEVICE_CLASS, TOPOLOGIES

RESULTS = Path(__file__).with_name("SCHEDULER.md")
MIXED = ("hgx-a100", "partitions", "bridge-pairs", "pcie")
STILL = 15.0  # seconds without a newly scheduled pod, after which the rest counts as waiting
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=75, help="with eight GPUs each (%(default)s)")
    parser.add_argument("--replicas", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of nodes and intents (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write (%(default)s)")
    arguments = parser.parse_args()
    if "BENCHMARK_LOGS" in os.environ:
        measure(arguments)
    else:
        with_cluster(sys.argv[1:])


def with_cluster(arguments: list[str]) -> None:
    """Run this program again, inside a cluster that is only there for it."""
    build.build(kwok.MODULE, lambda *_: None)
    paths = ClusterPaths.of(os.environ.setdefault("CLUSTER_NAME", "placement"))
    subprocess.run([sys.executable, "-m", "dev.cluster", "up"], check=True, cwd=REPOSITORY)
    try:
        again = [sys.executable, "-m", "benchmarks.placement.scheduler", *arguments]
        line, environment = lifecycle.inside(paths, again)
        subprocess.run(line, env=environment | {"BENCHMARK_LOGS": str(paths.logs)}, check=True)
    finally:
        subprocess.run([sys.executable, "-m", "dev.cluster", "down"], check=True, cwd=REPOSITORY)


def measure(arguments: argparse.Namespace) -> None:
    kubernetes.config.load_kube_config()
    nodes = fleet.draw(arguments.nodes, MIXED, arguments.seed)
    gpus = inventory([], [node.slice() for node in nodes], [DEVICE_CLASS], BRIDGE)
    topologies = [TOPOLOGIES[name] for name in MIXED]
    replicas, refused = draw(arguments.replicas, topologies, gpus, arguments.seed)
    with kwok.running(Path(os.environ["BENCHMARK_LOGS"])):
        create_fleet(nodes)
        passes = [
            by_claims("claims with the intent", replicas, replicas, gpus, nodes),
            by_claims("claims without", [item.without_intent() for item in replicas], replicas, gpus, nodes),
            by_resource("plain nvidia.com/gpu", replicas),
        ]
    arguments.results.write_text(report(passes, replicas, refused, arguments.nodes, arguments.seed, MIXED))
    print(arguments.results.read_text(), flush=True)


def create_fleet(nodes: list[fleet.FleetNode]) -> None:
    """Nodes, slices and class; and wait until the nodes are ready."""
    core, resources = client.CoreV1Api(), client.ResourceV1Api()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    resources.create_device_class(DEVICE_CLASS)
    at_once(lambda node: core.create_node(node.manifest()), nodes)
    at_once(lambda node: resources.create_resource_slice(node.slice()), nodes)
    wait_until(lambda: sum(map(_is_ready, core.list_node().items)) > len(nodes))
    wait_until(lambda: bool(core.list_namespaced_service_account(NAMESPACE).items))


def by_claims(
    name: str, asking: list[Replica], meant: list[Replica], gpus: Gpus, nodes: list[fleet.FleetNode]
) -> Pass:
    """Schedule `asking`, and judge what they got by what was `meant`."""
    resources = client.ResourceV1Api()
    at_once(
        lambda item: resources.create_namespaced_resource_claim_template(
            NAMESPACE, claim_template(item, gpus)
        ),
        asking,
    )
    scheduled, seconds = schedule([pod(item, by_claim=True) for item in asking])
    claims = resources.list_namespaced_resource_claim(NAMESPACE).items
    plain = [resources.api_client.sanitize_for_serialization(item) for item in claims]
    found = outcome(meant, plain, nodes)
    clean()
    resources.delete_collection_namespaced_resource_claim_template(NAMESPACE)
    return Pass(name, scheduled, seconds, found)


def by_resource(name: str, replicas: list[Replica]) -> Pass:
    scheduled, seconds = schedule([pod(item, by_claim=False) for item in replicas])
    clean()
    return Pass(name, scheduled, seconds, None)


def schedule(pods: list[dict[str, Any]]) -> tuple[int, float]:
    """Create pods and wait for the scheduler: how many got a node, and the seconds until the last did."""
    core = client.CoreV1Api()
    started = time.monotonic()
    with ThreadPoolExecutor(1) as creator:
        creating = creator.submit(at_once, lambda item: core.create_namespaced_pod(NAMESPACE, item), pods)
        scheduled, last = 0, started
        while scheduled < len(pods) and (not creating.done() or time.monotonic() - last < STILL):
            items = core.list_namespaced_pod(NAMESPACE).items
            now = sum(1 for item in items if item.spec.node_name)
            if now > scheduled:
                scheduled, last = now, time.monotonic()
            time.sleep(0.2)
        creating.result()
    return scheduled, last - started


def clean() -> None:
    """No pod and no claim is left."""
    core, resources = client.CoreV1Api(), client.ResourceV1Api()
    core.delete_collection_namespaced_pod(NAMESPACE, grace_period_seconds=0)
    wait_until(lambda: not core.list_namespaced_pod(NAMESPACE).items)
    wait_until(lambda: not resources.list_namespaced_resource_claim(NAMESPACE).items)


def at_once(call: Callable[[T], object], items: Iterable[T], threads: int = 8) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, items))


def wait_until(holds: Callable[[], bool], limit: float = 300) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit:.0f} s")
        time.sleep(0.5)


def _is_ready(node: Any) -> bool:
    return any(item.type == "Ready" and item.status == "True" for item in node.status.conditions or [])


if __name__ == "__main__":
    main()
