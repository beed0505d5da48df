"""`top`: what each pod is doing, from two looks at its metrics a few seconds apart."""

import http.client
import math
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.text import Text

from controllable_operator.desired import queries
from controllable_operator.histogram import quantile
from controllable_operator.plugin.view import FittingTable, percent

Manifest = dict[str, Any]
Labels = frozenset[tuple[str, str]]


class Scrape:
    """One look at a pod's metrics: counters, gauges and buckets by name and labels.

    Raises:
        ValueError: it is not in Prometheus' text format.
    """

    def __init__(self, text: str) -> None:
        self._values: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                self._values.setdefault(sample.name, {})[labels] = sample.value

    def sum(self, name: str, **labels: str) -> float | None:
        """The sum of all series of this name with these labels; None where there are none."""
        wanted = labels.items()
        found = [v for key, v in self._values.get(name, {}).items() if wanted <= dict(key).items()]
        return sum(found) if found else None

    def buckets(self, name: str) -> dict[float, float]:
        """Cumulative counts of a histogram by upper bound, its series put together."""
        result: dict[float, float] = {}
        for key, value in self._values.get(f"{name}_bucket", {}).items():
            bound = float(dict(key)["le"])
            result[bound] = result.get(bound, 0.0) + value
        return result


def pod_row(namespace: str, model: str, pod: str, before: Scrape, after: Scrape, seconds: float) -> Manifest:
    """One pod's line.

    Shares and latencies are of the time between the two looks; where nothing ended in it, of all the time
    since the pod started. `window` says which.
    """
    paths = _counted(queries.PATHS, before, after)
    pruned = _counted(queries.PATHS, before, after, fate="pruned")
    tokens = _counted(queries.TOKENS, before, after, kind="path")
    finished = _minus(after.buckets(queries.DURATION), before.buckets(queries.DURATION))
    window = "recent"
    if not finished.get(math.inf):
        finished, window = after.buckets(queries.DURATION), "sinceStart"
    if not paths:
        paths = after.sum(queries.PATHS) or 0.0
        pruned = after.sum(queries.PATHS, fate="pruned") or 0.0
    blocks, used = after.sum(queries.KV_BLOCKS), after.sum(queries.KV_BLOCKS, state="used")
    return {
        "namespace": namespace,
        "model": model,
        "pod": pod,
        "running": _whole(after.sum(queries.RUNNING)),
        "waiting": _whole(after.sum(queries.WAITING)),
        "tokensPerSecond": round(tokens / seconds, 1),
        "pathsPruned": pruned / paths if paths else None,
        "kvUtilisation": (used or 0.0) / blocks if blocks else None,
        "latencyP50": quantile(0.5, finished),
        "latencyP99": quantile(0.99, finished),
        "window": window,
        "error": "",
    }


def failed_row(namespace: str, model: str, pod: str, error: str) -> Manifest:
    """The line of a pod that could not be asked."""
    empty = (
        "running",
        "waiting",
        "tokensPerSecond",
        "pathsPruned",
        "kvUtilisation",
        "latencyP50",
        "latencyP99",
    )
    named = {"namespace": namespace, "model": model, "pod": pod}
    return named | dict.fromkeys(empty) | {"window": None, "error": error}


def build(rows: list[Manifest], seconds: float) -> Manifest:
    """The document of `-o json`."""
    return {"seconds": seconds, "pods": sorted(rows, key=lambda r: (r["namespace"], r["model"], r["pod"]))}


def render(document: Manifest) -> RenderableType:
    """A table of pods, with a note where a figure is not of this moment."""
    pods = document["pods"]
    if not pods:
        return Text("no pods")
    columns = ("MODEL", "POD", "RUNNING", "WAITING", "TOKENS/S", "PRUNED", "KV", "P50", "P99", "")
    rows = [
        (
            row["model"],
            row["pod"],
            _number(row["running"]),
            _number(row["waiting"]),
            _number(row["tokensPerSecond"]),
            percent(row["pathsPruned"]),
            percent(row["kvUtilisation"]),
            _duration(row),
            _duration(row, "latencyP99"),
            Text(row["error"], style="red"),
        )
        for row in pods
    ]
    shown = FittingTable(columns, rows, "")
    if any(row["window"] == "sinceStart" and row["latencyP50"] is not None for row in pods):
        note = f"* since the pod started: no request ended in the {document['seconds']:g} s looked at"
        return Group(shown, Text(note, style="dim"))
    return shown


def read_metrics(connection: http.client.HTTPConnection) -> str:
    """GET /metrics; the frontend passes on the engine's."""
    connection.request("GET", "/metrics", headers={"Connection": "close"})
    return connection.getresponse().read().decode(errors="replace")


def _counted(name: str, before: Scrape, after: Scrape, **labels: str) -> float:
    """What a counter grew by; after a restart, what it has counted since."""
    old, new = before.sum(name, **labels) or 0.0, after.sum(name, **labels) or 0.0
    return new - old if new >= old else new


def _minus(new: Mapping[float, float], old: Mapping[float, float]) -> dict[float, float]:
    if any(new.get(bound, 0.0) < count for bound, count in old.items()):
        return dict(new)
    return {bound: count - old.get(bound, 0.0) for bound, count in new.items()}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _duration(row: Manifest, key: str = "latencyP50") -> str:
    value = row[key]
    if value is None:
        return "-"
    text = f"{value * 1000:.0f}ms" if value < 1 else f"{value:.2f}s"
    return f"{text}*" if row["window"] == "sinceStart" else text
