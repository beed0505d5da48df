"""Rules for Prometheus: what is computed ahead, and what somebody is told."""

from typing import Any

from controllable_operator.api import ControllableModel, Range
from controllable_operator.api.types import seconds
from controllable_operator.desired import queries

Rule = dict[str, Any]

LATENCY = "controllable:request_latency_seconds:p99_5m"
PRUNING = "controllable:path_pruning_rate:5m"
UTILISATION = "controllable:budget_utilisation:5m"
_RECORDED = {
    LATENCY: queries.latency_p99,
    PRUNING: queries.path_pruning_rate,
    UTILISATION: queries.budget_utilisation,
}


def recordings(select: str, labels: dict[str, str]) -> list[Rule]:
    """One series for each record, over all series that `select` matches; `labels` tell whose it is."""
    return [{"record": name, "expr": query(select), "labels": labels} for name, query in _RECORDED.items()]


def fleet_alerts() -> list[Rule]:
    """What is wrong with the operator, or with models that have no pod to tell it, by the operator's metrics.

    Each of its replicas counts models, and one that led before still tells when that was: the largest counts.
    """
    fleet = (
        "`kubectl controllable fleet -A` has them first, `kubectl controllable status NAME` says what to do."
    )
    models = "controllable_operator_models"
    seen = (
        "max by (namespace, exported_namespace, name) (controllable_operator_last_success_timestamp_seconds)"
    )
    return [
        _rule(
            "ControllableOperatorWithoutLeader",
            "absent(controllable_operator_leader == 1)",
            "5m",
            {"severity": "critical"},
            "no replica of the operator works, or Prometheus does not scrape it",
            "Models serve on, but no change reaches them. See the pods of the operator, their logs, and "
            "`kubectl get lease controllable-operator` in their namespace.",
        ),
        _rule(
            "ControllableModelsFailed",
            f'max({models}{{phase="Failed"}}) > 0',
            "5m",
            {"severity": "critical"},
            "{{ $value }} models are Failed: nothing changes until somebody acts",
            fleet,
        ),
        _rule(
            "ControllableModelsNotReady",
            f'max by (phase) ({models}{{phase=~"Pending|Degraded"}}) > 0',
            "30m",
            {"severity": "warning"},
            "{{ $value }} models are {{ $labels.phase }}",
            fleet,
        ),
        _rule(
            "ControllableModelsNotReconciled",
            f"count(time() - {seen} > 900) > 0",
            "5m",
            {"severity": "warning"},
            "{{ $value }} models were not reconciled in 15 minutes, which they should be every 5",
            "The operator's log names them; controllable_operator_reconcile_errors_total has the reasons.",
        ),
    ]


def alerts(model: ControllableModel) -> list[Rule]:
    """What is wrong with any model, and the objectives that this one has."""
    select, slo = queries.selector(model), model.spec.monitoring.slo
    recorded = f'{{namespace="{model.metadata.namespace}",model="{model.metadata.name}"}}'
    found = [
        _alert(
            model,
            "ControllableModelEngineDown",
            f"min({queries.ENGINE_UP}{{{select}}}) == 0",
            "15m",
            "critical",
            "a pod's engine cannot be asked",
            "See the condition ModelLoaded, then the log of the pod's container triton.",
        ),
        _alert(
            model,
            "ControllableModelFailing",
            f"{queries.failure_rate(select)} > 0.05",
            "10m",
            "critical",
            "more than 5% of the requests fail",
            "See the log of the container triton: a failed request says why. If it began with a change of "
            "the spec, undo that.",
        ),
        _alert(
            model,
            "ControllableModelRefusing",
            f"{queries.refusal_rate(select)} > 0.01",
            "10m",
            "warning",
            "requests are refused or time out in the queue",
            "There is too little room: raise spec.replicas, or let spec.scaling.maxReplicas be followed.",
        ),
    ]
    if slo.latency_p99:
        found.append(
            _alert(
                model,
                "ControllableModelSlow",
                f"{LATENCY}{recorded} > {seconds(slo.latency_p99):g}",
                "10m",
                "warning",
                f"the 99th percentile of the latency is over {slo.latency_p99}",
                "If requests wait (controllable_requests_waiting), add replicas; if not, lower "
                "spec.control.computeBudget.maxCoefficient or maxTokens.",
            )
        )
    if slo.path_pruning_rate:
        found.append(
            _alert(
                model,
                "ControllableModelPathPruningRate",
                _outside(f"{PRUNING}{recorded}", slo.path_pruning_rate),
                "30m",
                "warning",
                f"the share of pruned paths is not {_told(slo.path_pruning_rate)}",
                "Too few: raise spec.control.pathPruning.threshold; too many: lower it. After a change of "
                "the model, calibrate its gate again.",
            )
        )
    if slo.budget_utilisation:
        found.append(
            _alert(
                model,
                "ControllableModelBudgetUtilisation",
                _outside(f"{UTILISATION}{recorded}", slo.budget_utilisation),
                "30m",
                "warning",
                f"the used share of the granted tokens is not {_told(slo.budget_utilisation)}",
                "Too low: requests are granted more than they need, lower "
                "spec.control.computeBudget.maxCoefficient; too high: answers are cut off, raise it or "
                "maxTokens.",
            )
        )
    return found


def _alert(
    model: ControllableModel,
    name: str,
    expression: str,
    lasting: str,
    severity: str,
    summary: str,
    runbook: str,
) -> Rule:
    namespace, of = model.metadata.namespace, model.metadata.name
    labels = {"severity": severity, "namespace": namespace, "model": of}
    rule = _rule(name, expression, lasting, labels, f"{namespace}/{of}: {summary}", runbook)
    rule["annotations"]["description"] = f"{summary} (now {{{{ $value | humanize }}}}), for {lasting}."
    return rule


def _rule(
    name: str, expression: str, lasting: str, labels: dict[str, str], summary: str, runbook: str
) -> Rule:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": labels,
        "annotations": {"summary": summary, "description": f"{summary}, for {lasting}.", "runbook": runbook},
    }


def _outside(series: str, allowed: Range) -> str:
    return f"{series} < {allowed.min} or {series} > {allowed.max}"


def _told(allowed: Range) -> str:
    return f"between {allowed.min} and {allowed.max}"
