"""`capabilities`: what the cluster offers to models beyond Kubernetes itself."""

from dataclasses import replace
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from controllable_operator.kinds import (
    CLAIM_TEMPLATE,
    COMPUTE_DOMAIN,
    DEVICE_CLASS,
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
    """kinds: all of them have to be served; no version: in any; no plural: anything of the group."""

    name: str
    kinds: tuple[Kind, ...]
    use: str


def _in_any_version(kind: Kind) -> Kind:
    """The kind, where the operator neither reads nor writes it."""
    return replace(kind, api_version=f"{kind.group}/")


CAPABILITIES = (
    Capability("ControllableModel", (MODEL,), "models at all: chart controllable-crds"),
    Capability("KEDA", (SCALED_OBJECT,), "autoscaling by any of spec.scaling.targets, and to zero"),
    Capability(
        "custom metrics",
        (Kind("custom.metrics.k8s.io/", "", ""),),
        "autoscaling by waiting requests, without KEDA",
    ),
    Capability("Prometheus operator", (POD_MONITOR, PROMETHEUS_RULE), "metrics scraped, alerts"),
    Capability("Gateway API", (HTTP_ROUTE,), "a canary that gets an exact share of the requests"),
    Capability("DRA", (CLAIM_TEMPLATE, DEVICE_CLASS), "GPUs by topology: Kubernetes 1.34, and a driver"),
    Capability("ComputeDomain", (COMPUTE_DOMAIN,), "NVLink between the nodes of a clique: see multi-node"),
    Capability("LeaderWorkerSet", (LEADER_WORKER_SET,), "replicas of several pods: see multi-node"),
    Capability(
        "Kueue",
        (_in_any_version(LOCAL_QUEUE),),
        "pods that wait in a queue, by a label in spec.podTemplate",
    ),
    Capability(
        "KAI Scheduler",
        (_in_any_version(KAI_QUEUE),),
        "queues and gangs, by a label and the schedulerName",
    ),
    Capability("resource metrics", (Kind("metrics.k8s.io/", "PodMetrics", "pods"),), "kubectl top"),
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
    versions = [version(wanted, served) for wanted in capability.kinds]
    found = all(versions)
    return {
        "name": capability.name,
        "available": found,
        "version": versions[0] if found else None,
        "needs": [f"{kind.plural}.{kind.group}" for kind in capability.kinds],
        "use": capability.use,
    }


def version(wanted: Kind, served: list[Served]) -> str | None:
    """The version in which the operator finds this kind, None if in none."""
    for entry in served:
        if entry.kind.group == wanted.group and wanted.plural in ("", entry.kind.plural):
            if not wanted.version:
                return entry.kind.version
            return wanted.version if wanted.version in entry.versions else None
    return None


def _health(row: Manifest) -> str:
    if row["available"]:
        return OK
    return BAD if row["name"] == CAPABILITIES[0].name else IDLE


def _gpu_line(gpus: Manifest | None) -> str:
    told = "unknown, as you may not list nodes and what DRA tells" if gpus is None else gpus["told"]
    return f"GPUs: {told}"
