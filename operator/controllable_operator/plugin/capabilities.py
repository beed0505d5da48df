"""`capabilities`: what the cluster offers to models beyond Kubernetes itself."""

from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from controllable_operator.kinds import (
    COMPUTE_DOMAIN,
    HTTP_ROUTE,
    KAI_QUEUE,
    LEADER_WORKER_SET,
    LOCAL_QUEUE,
    MODEL,
    POD_MONITOR,
    PROMETHEUS_RULE,
    SCALED_OBJECT,
    Kind,
)
from controllable_operator.placement import Gpus
from controllable_operator.plugin.marks import BAD, IDLE, OK
from controllable_operator.plugin.served import Served
from controllable_operator.plugin.view import FittingTable, Mark

Manifest = dict[str, Any]


class Capability(NamedTuple):
    """kinds: `plural.group`, all of which have to be served; no plural: anything of the group."""

    name: str
    kinds: tuple[str, ...]
    use: str


def _of(*kinds: Kind) -> tuple[str, ...]:
    return tuple(f"{kind.plural}.{kind.group}" for kind in kinds)


CAPABILITIES = (
    Capability("ControllableModel", _of(MODEL), "models at all: chart controllable-crds"),
    Capability("KEDA", _of(SCALED_OBJECT), "autoscaling by any of spec.scaling.targets, and to zero"),
    Capability(
        "custom metrics", (".custom.metrics.k8s.io",), "autoscaling by waiting requests, without KEDA"
    ),
    Capability("Prometheus operator", _of(POD_MONITOR, PROMETHEUS_RULE), "metrics scraped, alerts"),
    Capability("Gateway API", _of(HTTP_ROUTE), "a canary that gets an exact share of the requests"),
    Capability(
        "DRA",
        ("resourceclaimtemplates.resource.k8s.io", "deviceclasses.resource.k8s.io"),
        "GPUs chosen by topology, where a driver runs",
    ),
    Capability("ComputeDomain", _of(COMPUTE_DOMAIN), "NVLink between the nodes of a clique: see multi-node"),
    Capability("LeaderWorkerSet", _of(LEADER_WORKER_SET), "replicas of several pods: see multi-node"),
    Capability("Kueue", _of(LOCAL_QUEUE), "pods that wait in a queue, by a label in spec.podTemplate"),
    Capability("KAI Scheduler", _of(KAI_QUEUE), "queues and gangs, by a label and the schedulerName"),
    Capability("resource metrics", ("pods.metrics.k8s.io",), "kubectl top"),
)


def build(served: list[Served], gpus: Gpus | None) -> Manifest:
    """The document of `-o json`; gpus: None where what tells of them may not be listed."""
    return {
        "capabilities": [_row(capability, served) for capability in CAPABILITIES],
        "gpus": None if gpus is None else gpus.to_json() | {"told": gpus.told()},
    }


def render(document: Manifest) -> RenderableType:
    """A table of capabilities and a line about GPUs."""
    rows = [
        (Mark(_health(row)), row["name"], row["version"] or "-", row["use"])
        for row in document["capabilities"]
    ]
    shown = FittingTable(("", "CAPABILITY", "VERSION", "WHAT FOR"), rows, "WHAT FOR")
    return Group(shown, Text(), Text(_gpu_line(document["gpus"])))


def _row(capability: Capability, served: list[Served]) -> Manifest:
    versions = [_version(wanted, served) for wanted in capability.kinds]
    found = all(versions)
    return {
        "name": capability.name,
        "available": found,
        "version": versions[0] if found else None,
        "needs": list(capability.kinds),
        "use": capability.use,
    }


def _version(wanted: str, served: list[Served]) -> str | None:
    plural, _, group = wanted.partition(".")
    for entry in served:
        if entry.kind.group == group and plural in ("", entry.kind.plural):
            return entry.kind.version
    return None


def _health(row: Manifest) -> str:
    if row["available"]:
        return OK
    return BAD if row["name"] == CAPABILITIES[0].name else IDLE


def _gpu_line(gpus: Manifest | None) -> str:
    told = "unknown, as you may not list nodes and what DRA tells" if gpus is None else gpus["told"]
    return f"GPUs: {told}"
