"""A Grafana dashboard of one model, or of whichever one picks."""

from collections.abc import Iterator
from typing import Any

from controllable_operator.api import Slo
from controllable_operator.api.types import seconds
from controllable_operator.desired import queries

Panel = dict[str, Any]

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _ACROSS = 8, 7, 3


def dashboard(title: str, uid: str, select: str, slo: Slo, picked: bool = False) -> dict[str, Any]:
    """The dashboard's JSON model.

    Args:
        title: as Grafana lists it.
        uid: the same for the same dashboard, for ever.
        select: label matchers of the series.
        slo: drawn into the panels.
        picked: whether the viewer picks namespace and model; `select` has their variables then.
    """
    panels = list(_panels(select, slo))
    for index, panel in enumerate(panels):
        row, column = divmod(index, _ACROSS)
        panel |= {
            "id": index + 1,
            "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        }
    return {
        "title": title,
        "uid": uid,
        "tags": ["controllable-inference"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variables() if picked else [])]},
        "panels": panels,
    }


def _panels(select: str, slo: Slo) -> Iterator[Panel]:
    rate = f"[{queries.WINDOW}]"
    requests = f"sum by (outcome) (rate({queries.REQUESTS}{{{select}}}{rate}))"
    yield _panel("Requests by outcome", "reqps", {"{{outcome}}": requests})
    yield _panel(
        "Requests in the engine",
        "short",
        {
            "waiting": queries.waiting(select),
            "running": f"sum({queries.RUNNING}{{{select}}})",
        },
    )
    yield _panel("Pods whose engine can be asked", "short", {"pods": f"sum({queries.ENGINE_UP}{{{select}}})"})
    limit = seconds(slo.latency_p99) if slo.latency_p99 else None
    yield _panel(
        "Latency",
        "s",
        {
            "p50": queries.quantile(0.5, queries.DURATION, select),
            "p99": queries.latency_p99(select),
            "first token p99": queries.quantile(0.99, queries.FIRST_TOKEN, select),
        },
        _lines(None, limit),
    )
    pruning, used = slo.path_pruning_rate, slo.budget_utilisation
    yield _panel(
        "Paths pruned",
        "percentunit",
        {"pruned": queries.path_pruning_rate(select)},
        _lines(float(pruning.min), float(pruning.max)) if pruning else None,
    )
    yield _panel(
        "Budget used",
        "percentunit",
        {"used": queries.budget_utilisation(select)},
        _lines(float(used.min), float(used.max)) if used else None,
    )
    tokens = f"sum by (kind) (rate({queries.TOKENS}{{{select}}}{rate}))"
    yield _panel("Tokens per second", "short", {"{{kind}}": tokens})
    paths = f"sum by (fate) (rate({queries.PATHS}{{{select}}}{rate}))"
    yield _panel("Paths by fate", "short", {"{{fate}}": paths})
    yield _panel("KV cache used", "percentunit", {"used": queries.kv_utilisation(select)})


def _panel(title: str, unit: str, series: dict[str, str], thresholds: dict[str, Any] | None = None) -> Panel:
    custom = {"thresholdsStyle": {"mode": "dashed"}} if thresholds else {}
    defaults: dict[str, Any] = {"unit": unit, "min": 0, "custom": custom}
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults | ({"thresholds": thresholds} if thresholds else {})},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(series.items())
        ],
    }


def _lines(low: float | None, high: float | None) -> dict[str, Any] | None:
    """Where the objective ends, drawn into the panel."""
    if high is None:
        return None
    steps: list[dict[str, Any]] = [{"color": "red" if low else "green", "value": None}]
    if low:
        steps.append({"color": "green", "value": low})
    return {"mode": "absolute", "steps": [*steps, {"color": "red", "value": high}]}


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variables() -> list[dict[str, Any]]:
    by_model = queries.MODEL_LABEL
    return [
        _variable("namespace", f"label_values({queries.WAITING}, namespace)"),
        _variable("model", f'label_values({queries.WAITING}{{namespace="$namespace"}}, {by_model})'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {"name": name, "type": "query", "datasource": _DATASOURCE, "query": query, "refresh": 2}
