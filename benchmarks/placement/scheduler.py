"""Placement on the real kube-scheduler: is `required` kept, what does it cost, and what is it worth?

    python -m benchmarks.placement.scheduler [--nodes 75] [--replicas 200]

Starts the local cluster (dev/cluster) with KWOK's pretended nodes and told GPUs (dev/gpus), and gives the
scheduler the same replicas three times: by the claims that the operator writes for their intents, by claims
without an intent, and as plain nvidia.com/gpu. Writes benchmarks/placement/SCHEDULER.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kubernetes
from controllable_operator.placement import Gpus, inventory
from kubernetes import client

from benchmarks.at_once import at_once, wait_until
from benchmarks.placement.mirror import Mirror
from benchmarks.placement.replicas import (
    NAMESPACE,
    Replica,
    claim_template,
    draw,
    outcome,
    pod,
)
from benchmarks.placement.report import Pass, report
from dev.cluster import alone, ending, kwok
from dev.gpus import fleet
from dev.gpus.topologies import BRIDGE, DEVICE_CLASS, TOPOLOGIES

RESULTS = Path(__file__).with_name("SCHEDULER.md")
MIXED = ("hgx-a100", "partitions", "bridge-pairs", "pcie")
STILL = 15.0  # seconds without a newly scheduled pod, after which the rest counts as waiting


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=75, help="with eight GPUs each (%(default)s)")
    parser.add_argument("--replicas", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of nodes and intents (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write (%(default)s)")
    arguments = parser.parse_args()
    ending.as_exceptions()
    if logs := alone.logs():
        measure(arguments, logs)
    else:
        alone.run_inside("placement", "benchmarks.placement.scheduler", sys.argv[1:])


def measure(arguments: argparse.Namespace, logs: Path) -> None:
    kubernetes.config.load_kube_config()
    nodes = fleet.draw(arguments.nodes, MIXED, arguments.seed)
    gpus = inventory([], [node.slice() for node in nodes], [DEVICE_CLASS], BRIDGE)
    topologies = [TOPOLOGIES[name] for name in MIXED]
    replicas, refused = draw(arguments.replicas, topologies, gpus, arguments.seed)
    without = [item.without_intent() for item in replicas]
    with kwok.running(logs), kwok.without_policy_enforcer():
        create_fleet(nodes)
        mirror = Mirror()
        passes = [
            by_claims("claims with the intent", mirror, replicas, replicas, gpus, nodes),
            by_claims("claims without", mirror, without, replicas, gpus, nodes),
            by_resource("plain nvidia.com/gpu", mirror, replicas),
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
    wait_until(lambda: sum(map(kwok.is_ready, core.list_node().items)) > len(nodes))
    wait_until(lambda: bool(core.list_namespaced_service_account(NAMESPACE).items))


def by_claims(
    name: str,
    mirror: Mirror,
    asking: list[Replica],
    meant: list[Replica],
    gpus: Gpus,
    nodes: list[fleet.FleetNode],
) -> Pass:
    """Schedule `asking`, and judge what they got by what was `meant`."""
    resources = client.ResourceV1Api()
    at_once(
        lambda item: resources.create_namespaced_resource_claim_template(
            NAMESPACE, claim_template(item, gpus)
        ),
        asking,
    )
    scheduled, seconds = schedule(mirror, [pod(item, by_claim=True) for item in asking])
    claims = resources.list_namespaced_resource_claim(NAMESPACE).items
    plain = [resources.api_client.sanitize_for_serialization(item) for item in claims]
    found = outcome(meant, plain, nodes)
    clean()
    resources.delete_collection_namespaced_resource_claim_template(NAMESPACE)
    return told(Pass(name, scheduled, seconds, found))


def by_resource(name: str, mirror: Mirror, replicas: list[Replica]) -> Pass:
    scheduled, seconds = schedule(mirror, [pod(item, by_claim=False) for item in replicas])
    clean()
    return told(Pass(name, scheduled, seconds, None))


def told(found: Pass) -> Pass:
    print(f"{found.name}: {found.scheduled} pods in {found.seconds:.0f} s", flush=True)
    return found


def schedule(mirror: Mirror, pods: list[dict[str, Any]]) -> tuple[int, float]:
    """Create pods and wait for the scheduler: how many got a node, and the seconds until the last did."""
    core = client.CoreV1Api()
    wait_until(lambda: mirror.scheduled() == 0)  # those of an earlier pass are forgotten
    started = time.monotonic()
    with ThreadPoolExecutor(1) as creator:
        creating = creator.submit(at_once, lambda item: core.create_namespaced_pod(NAMESPACE, item), pods)
        scheduled, last = 0, started
        while scheduled < len(pods) and (not creating.done() or time.monotonic() - last < STILL):
            now = mirror.scheduled()
            if now > scheduled:
                scheduled, last = now, time.monotonic()
            time.sleep(0.1)
        creating.result()
    return scheduled, last - started


def clean() -> None:
    """No pod and no claim is left."""
    core, resources = client.CoreV1Api(), client.ResourceV1Api()
    core.delete_collection_namespaced_pod(NAMESPACE, grace_period_seconds=0)
    wait_until(lambda: not core.list_namespaced_pod(NAMESPACE).items)
    wait_until(lambda: not resources.list_namespaced_resource_claim(NAMESPACE).items)


if __name__ == "__main__":
    main()
