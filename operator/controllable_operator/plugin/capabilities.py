"""`capabilities`: what the cluster offers to models beyond Kubernetes itself."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from controllable_operator.kinds import HTTP_ROUTE, MODEL, POD_MONITOR, PROMETHEUS_RULE, SCALED_OBJECT, Kind
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
    return tuple(f"{kind.plural}.{kind.api_version.partition('/')[0]}" for kind in kinds)


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
    Capability("resource metrics", ("pods.metrics.k8s.io",), "kubectl top"),
)


def build(served: list[Served], nodes: list[Manifest] | None) -> Manifest:
    """The document of `-o json`; nodes: None where they may not be listed."""
    return {
        "capabilities": [_row(capability, served) for capability in CAPABILITIES],
        "gpus": None if nodes is None else _gpus(nodes),
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
        its_group, _, version = entry.kind.api_version.rpartition("/")
        if its_group == group and plural in ("", entry.kind.plural):
            return version
    return None


def _health(row: Manifest) -> str:
    if row["available"]:
        return OK
    return BAD if row["name"] == CAPABILITIES[0].name else IDLE


def _gpus(nodes: Iterable[Manifest]) -> list[Manifest]:
    """GPUs that nodes offer as an extended resource, by resource and product."""
    found: dict[tuple[str, str], Manifest] = {}
    for node in nodes:
        product = (node["metadata"].get("labels") or {}).get("nvidia.com/gpu.product", "")
        for resource, amount in ((node.get("status") or {}).get("allocatable") or {}).items():
            if resource.endswith("/gpu") and str(amount).isdigit() and int(amount):
                row = found.setdefault(
                    (resource, product), {"resource": resource, "product": product, "nodes": 0, "count": 0}
                )
                row["nodes"] += 1
                row["count"] += int(amount)
    return [found[key] for key in sorted(found)]


def _gpu_line(gpus: list[Manifest] | None) -> str:
    if gpus is None:
        return "GPUs: unknown, as you may not list nodes"
    if not gpus:
        return "GPUs: none as an extended resource; models run on CPUs, or on devices of DRA"
    told = [
        " ".join(
            filter(None, (str(row["count"]), row["resource"], row["product"], f"on {row['nodes']} nodes"))
        )
        for row in gpus
    ]
    return f"GPUs: {', '.join(told)}"
