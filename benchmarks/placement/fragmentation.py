"""How often `nvlink: required` waits although enough GPUs are free, by how everybody asks for theirs.

    python -m benchmarks.placement.fragmentation [--seeds 3] [--arrivals 150]

Starts the local cluster with KWOK's pretended nodes. Each way of asking and each seed is a tenant with nodes
of its own, where replicas arrive, and leave again by chance, so that nine GPUs of ten are in use. Time is
virtual: a tenant's next event comes when the real kube-scheduler has placed the last one or said no. A
replica that is refused goes away. Writes benchmarks/placement/FRAGMENTATION.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import kubernetes
from controllable_operator.placement import Gpus, inventory
from controllable_operator.placement.ask import Ask
from kubernetes import client

from benchmarks.at_once import at_once, wait_until
from benchmarks.placement import arrivals
from benchmarks.placement.arrivals import Arrival, Book, Device, Way
from benchmarks.placement.fragmentation_report import report
from benchmarks.placement.mirror import Mirror
from benchmarks.placement.replicas import NAMESPACE
from dev.cluster import alone, ending, kwok
from dev.gpus import fleet
from dev.gpus.topologies import BRIDGE, DEVICE_CLASS, TOPOLOGIES

RESULTS = Path(__file__).with_name("FRAGMENTATION.md")
MIXED = ("hgx-a100", "partitions", "bridge-pairs", "pcie")
LOAD = 0.9
CPUS = "128"  # of a node; a replica takes 8 for each GPU
SETTLED = 1.5  # seconds after a refusal in which the scheduler tries again if it was behind
PATIENCE = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="streams for each way (%(default)s)")
    parser.add_argument("--nodes", type=int, default=24, help="of each tenant (%(default)s)")
    parser.add_argument("--warmup", type=int, default=130, help="arrivals that don't count (%(default)s)")
    parser.add_argument("--arrivals", type=int, default=150, help="that count (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write (%(default)s)")
    arguments = parser.parse_args()
    ending.as_exceptions()
    if logs := alone.logs():
        measure(arguments, logs)
    else:
        alone.run_inside("placement", "benchmarks.placement.fragmentation", sys.argv[1:])


def measure(arguments: argparse.Namespace, logs: Path) -> None:
    kubernetes.config.load_kube_config()
    configuration = client.Configuration.get_default_copy()
    configuration.connection_pool_maxsize = 32
    client.Configuration.set_default(configuration)
    client.CoreV1Api().create_namespace({"metadata": {"name": NAMESPACE}})
    client.ResourceV1Api().create_device_class(DEVICE_CLASS)
    started = time.monotonic()
    tenants = [
        Tenant(f"w{number}-s{seed}", way, seed, arguments.nodes)
        for seed in range(arguments.seeds)
        for number, way in enumerate(arrivals.WAYS)
    ]
    with kwok.running(logs), kwok.without_policy_enforcer():
        at_once(Tenant.create, tenants)
        core = client.CoreV1Api()
        wait_until(lambda: sum(map(kwok.is_ready, core.list_node().items)) > len(tenants) * arguments.nodes)
        wait_until(lambda: bool(core.list_namespaced_service_account(NAMESPACE).items))
        mirror = Mirror()
        with ThreadPoolExecutor(len(tenants)) as pool:
            streams = list(
                pool.map(lambda tenant: tenant.run(mirror, arguments.warmup, arguments.arrivals), tenants)
            )
    found: dict[str, list[list[Arrival]]] = {way.name: [] for way in arrivals.WAYS}
    for tenant, stream in zip(tenants, streams, strict=True):
        found[tenant.way.name].append(stream)
    command = f"--seeds {arguments.seeds} --nodes {arguments.nodes} --arrivals {arguments.arrivals}"
    text = report(found, command, arguments.nodes, MIXED, time.monotonic() - started)
    arguments.results.write_text(text)
    print(text, flush=True)


@dataclass
class Tenant:
    """One stream of replicas, asked for in one way, on nodes of its own."""

    name: str
    way: Way
    seed: int
    count: int

    def __post_init__(self) -> None:
        drawn = fleet.draw(self.count, MIXED, self.seed)
        self.nodes = [
            fleet.FleetNode(f"{self.name}-{node.name}", node.topology, node.ordinal) for node in drawn
        ]
        self.gpus: Gpus = inventory([], [node.slice() for node in self.nodes], [DEVICE_CLASS], BRIDGE)
        self._templates: dict[str, str] = {}

    def create(self) -> None:
        core, resources = client.CoreV1Api(), client.ResourceV1Api()
        for node in self.nodes:
            manifest = node.manifest(plugin=False)
            manifest["metadata"]["labels"]["tenant"] = self.name
            manifest["status"] = {key: value | {"cpu": CPUS} for key, value in manifest["status"].items()}
            core.create_node(manifest)
            resources.create_resource_slice(node.slice())

    def run(self, mirror: Mirror, warmup: int, counted: int) -> list[Arrival]:
        """All arrivals after the first ones, which fill the nodes."""
        chance, book = random.Random(self.seed), Book.of(self.nodes)
        stream = arrivals.asks([TOPOLOGIES[name] for name in MIXED], self.gpus, self.seed)
        found: list[Arrival] = []
        for number, ask in enumerate(islice(stream, warmup + counted)):
            while book.load >= LOAD:
                leaving = chance.choice(sorted(book.taken))
                self._delete(mirror, leaving)
                del book.taken[leaving]
            name = f"{self.name}-{number:04d}"
            enough, connected = book.enough(ask), book.connected(ask)
            devices = self._place(mirror, name, ask)
            if devices:
                book.taken[name] = devices
            split = bool(devices) and ask.count > 1 and book.is_split(devices)
            found.append(Arrival(ask, enough, connected, bool(devices), split))
        return found[warmup:]

    def _place(self, mirror: Mirror, name: str, ask: Ask) -> list[Device]:
        """The GPUs that a new replica got; it is gone again if none."""
        pod = arrivals.pod(name, ask, self.gpus, self.way, self.name, self._template(ask))
        client.CoreV1Api().create_namespaced_pod(NAMESPACE, pod)
        if not mirror.wait(lambda: bool(mirror.devices(name)) or mirror.refused(name), PATIENCE):
            raise TimeoutError(f"the scheduler says nothing of {name}")
        if mirror.wait(lambda: bool(mirror.devices(name)), SETTLED):
            return mirror.devices(name) or []
        self._delete(mirror, name)
        return []

    def _delete(self, mirror: Mirror, name: str) -> None:
        client.CoreV1Api().delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
        if not mirror.wait(lambda: mirror.gone(name), PATIENCE):
            raise TimeoutError(f"{name} or its claim does not go away")

    def _template(self, ask: Ask) -> str:
        """The ResourceClaimTemplate of an ask, made when it is first needed."""
        if ask.key not in self._templates:
            name = f"{self.name}-{len(self._templates)}"
            devices = self.way.devices(ask, self.gpus)
            body = {"metadata": {"name": name}, "spec": {"spec": {"devices": devices}}}
            client.ResourceV1Api().create_namespaced_resource_claim_template(NAMESPACE, body)
            self._templates[ask.key] = name
        return self._templates[ask.key]


if __name__ == "__main__":
    main()
