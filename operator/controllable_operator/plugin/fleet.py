"""`fleet`: every model in a line, the broken ones first."""

from collections import Counter
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from controllable_operator.conditions import condition
from controllable_operator.plugin.diagnosis import RANK, first_wrong
from controllable_operator.plugin.marks import BAD, BUSY, OK
from controllable_operator.plugin.view import STYLES, FittingTable, Mark, age, count

Manifest = dict[str, Any]


def build(models: list[Manifest]) -> Manifest:
    """The document of `-o json`: a summary, and a row for each model."""
    rows = sorted(map(_row, models), key=lambda row: (RANK[row["health"]], row["namespace"], row["name"]))
    counted = Counter(row["health"] for row in rows)
    return {
        "summary": {
            "models": len(rows),
            "namespaces": len({row["namespace"] for row in rows}),
            "well": counted[OK],
            "onTheWay": counted[BUSY],
            "broken": counted[BAD],
            "podsReady": sum(row["replicas"]["ready"] for row in rows),
            "podsWanted": sum(row["replicas"]["wanted"] for row in rows),
        },
        "models": rows,
    }


def render(document: Manifest, now: datetime, namespaces: bool, most: int | None = None) -> RenderableType:
    """A table of at most `most` models and a line that sums all of them up.

    namespaces: whether there is a column for them.
    """
    summary = document["summary"]
    if not summary["models"]:
        where = "in this cluster" if namespaces else "in this namespace; all of them: -A"
        return Text(f"no models {where}")
    columns = ("", *(["NAMESPACE"] if namespaces else []), "NAME", "READY", "PODS", "MODEL", "PRUNED", "P99")
    rows = [
        (
            Mark(row["health"]),
            *([row["namespace"]] if namespaces else []),
            row["name"],
            Text(row["reason"], style=STYLES[row["health"]]),
            f"{row['replicas']['ready']}/{row['replicas']['wanted']}",
            row["model"],
            row["pathsPruned"] or "-",
            row["latencyP99"] or "-",
            row["placement"] or "-",
            age(row["created"], now),
            row["wrong"],
        )
        for row in document["models"][:most]
    ]
    shown = FittingTable(
        (*columns, "PLACEMENT", "AGE", "WRONG"), rows, "WRONG", ("PLACEMENT", "PRUNED", "P99", "MODEL", "AGE")
    )
    hidden = summary["models"] - len(rows)
    return Group(shown, Text(f"… and {hidden} more" if hidden else ""), _summary(summary))


def _row(model: Manifest) -> Manifest:
    meta, spec, status = model["metadata"], model.get("spec", {}), model.get("status") or {}
    wrong = first_wrong(model)
    ready = condition(model, "Ready")
    control, placement = status.get("control") or {}, status.get("placement") or {}
    return {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "health": wrong["health"] if wrong else OK,
        "ready": ready.get("status", "Unknown"),
        "reason": ready.get("reason") or "NotReconciled",
        "phase": status.get("phase"),
        "replicas": {
            "wanted": 0 if spec.get("suspend") else spec.get("replicas", 1),
            "ready": status.get("readyReplicas", 0),
        },
        "model": spec.get("model", {}).get("uri", ""),
        "pathsPruned": control.get("pathPruningRate"),
        "latencyP99": control.get("latencyP99"),
        "placement": placement.get("level") or placement.get("mechanism"),
        "created": meta.get("creationTimestamp"),
        "wrong": wrong["message"] if wrong else "",
    }


def _summary(summary: Manifest) -> Text:
    text = Text(f"{count(summary['models'], 'model')} in {count(summary['namespaces'], 'namespace')}: ")
    text.append(f"{summary['well']} well", style=STYLES[OK] if summary["well"] else "")
    text.append(", ")
    text.append(f"{summary['onTheWay']} on the way", style=STYLES[BUSY] if summary["onTheWay"] else "")
    text.append(", ")
    text.append(f"{summary['broken']} broken", style=STYLES[BAD] if summary["broken"] else "")
    text.append(f"; {summary['podsReady']} of {summary['podsWanted']} pods answer")
    return text
