"""What an autoscaler says and does, as the model's status tells it. Pure."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from controllable_operator.api import ControllableModel, Decision, ScalingStatus
from controllable_operator.api.types import timestamp
from controllable_operator.conditions import condition
from controllable_operator.desired.autoscaler import max_replicas, signals
from controllable_operator.kinds import AUTOSCALER, SCALED_OBJECT
from controllable_operator.status import Verdict

_KEPT = 5


def scaling_status(
    model: ControllableModel,
    obstacle: tuple[str, str] | None,
    children: Iterable[dict[str, Any]],
    now: datetime,
) -> tuple[Verdict, ScalingStatus | None]:
    """The condition ScalingActive and status.scaling.

    Args:
        model: as it was read.
        obstacle: why there is to be no autoscaler, from `desired.autoscaler.obstacle`; None if there is one.
        children: what exists; KEDA's HorizontalPodAutoscaler has the labels of its ScaledObject.
        now: the time of this observation.
    """
    by_kind = {child["kind"]: child for child in children}
    found = by_kind.get(AUTOSCALER.name), by_kind.get(SCALED_OBJECT.name)
    verdict = _active(model, obstacle, *found)
    if obstacle:
        return verdict, None
    return verdict, ScalingStatus(decisions=_decisions(model, *found, now))


def _active(
    model: ControllableModel,
    obstacle: tuple[str, str] | None,
    autoscaler: dict[str, Any] | None,
    scaled_object: dict[str, Any] | None,
) -> Verdict:
    if obstacle:
        return False, *obstacle
    if model.spec.replicas == 0:
        return False, "ScaledToZero", "there are no pods to measure; set spec.replicas to start the model"
    keda = condition(scaled_object, "Ready")
    if keda.get("status") == "False":
        return False, "MetricsUnavailable", f"KEDA: {keda.get('message', '')}"
    active, limited = condition(autoscaler, "ScalingActive"), condition(autoscaler, "ScalingLimited")
    if active.get("status") == "False":
        return False, "MetricsUnavailable", active.get("message", "")
    if active.get("status") != "True":
        return False, "MetricsUnavailable", "the autoscaler has not said anything yet"
    most, wanted = max_replicas(model), model.spec.scaling.max_replicas or 0
    if limited.get("reason") == "TooManyReplicas" and most < wanted:
        return (
            False,
            "BudgetExhausted",
            (
                f"more than {most} replicas would be needed, which is all that scaling.maxGPUs = "
                f"{model.spec.scaling.max_gpus} allows"
            ),
        )
    who = "KEDA" if scaled_object else "a HorizontalPodAutoscaler"
    message = f"{who} keeps {model.spec.scaling.min_replicas} to {most} replicas"
    if unused := [] if scaled_object else _needs_keda(model):
        message += f"; {' and '.join(unused)} would need KEDA"
    return True, "Active", message


def _decisions(
    model: ControllableModel,
    autoscaler: dict[str, Any] | None,
    scaled_object: dict[str, Any] | None,
    now: datetime,
) -> list[Decision]:
    """The last decisions, with the one that is to be seen now, if it's new."""
    told = (model.status.scaling and model.status.scaling.decisions) or []
    new = _rescaled(model, autoscaler, told) or _stopped(model, scaled_object, told, now)
    return [*told, new][-_KEPT:] if new else told


def _rescaled(
    model: ControllableModel, autoscaler: dict[str, Any] | None, told: list[Decision]
) -> Decision | None:
    status = (autoscaler or {}).get("status", {})
    time, to = status.get("lastScaleTime"), status.get("desiredReplicas")
    if not time or to is None or any(_moment(time) <= _moment(decision.time) for decision in told):
        return None
    before = status.get("currentReplicas")
    if before == to:  # seen too late: it has counted the new pods already
        before = told[-1].to if told else None
    signal, reason = _loudest(model, autoscaler or {})
    return _decision(signal, before, to, reason, time)


def _stopped(
    model: ControllableModel, scaled_object: dict[str, Any] | None, told: list[Decision], now: datetime
) -> Decision | None:
    """KEDA itself stops an idle model, past its HorizontalPodAutoscaler."""
    before = told[-1].to if told else model.status.replicas
    idle = condition(scaled_object, "Active").get("status") == "False"
    if model.spec.replicas or not before or not idle:
        return None
    return _decision("inFlight", before, 0, "no request is in flight", timestamp(now))


def _decision(signal: str, before: int | None, to: int, reason: str, time: str) -> Decision:
    document = {"signal": signal, "from": before, "to": to, "reason": reason, "time": time}
    return Decision.model_validate(document)


def _loudest(model: ControllableModel, autoscaler: dict[str, Any]) -> tuple[str, str]:
    """The signal that asks for most replicas, and how it stands to its target."""
    names = [signal.name for signal in signals(model)]
    heard: list[tuple[Decimal, str, str]] = []
    wanted = autoscaler.get("spec", {}).get("metrics", [])
    for metric, current in zip(wanted, autoscaler["status"].get("currentMetrics") or [], strict=False):
        kind = metric["type"].lower()
        target, value = metric[kind]["target"], (current.get(kind) or {}).get("current", {})
        field = next((name for name in ("averageValue", "value") if name in target), None)
        if field and value.get(field) is not None:
            goal, level = parse_quantity(target[field]), parse_quantity(value[field])
            name = _signal_name(names, metric[kind]["metric"]["name"])
            heard.append((level / goal, name, f"{name} at {_number(level)}, target {_number(goal)}"))
    if not heard:
        return "waitingRequests", "the autoscaler told no values"
    _, name, reason = max(heard)
    return name, reason


def _signal_name(names: list[str], metric: str) -> str:
    # KEDA calls the metrics of its triggers s0-…, s1-…, in their order; ours has one metric.
    index = metric.partition("-")[0].removeprefix("s")
    return names[int(index)] if index.isdigit() and int(index) < len(names) else names[0]


def _needs_keda(model: ControllableModel) -> list[str]:
    targets, scaling = model.spec.scaling.targets, model.spec.scaling
    asked = {
        "targets.kvUtilisation": targets.kv_utilisation is not None,
        "targets.latencyP99": targets.latency_p99 is not None,
        "minReplicas 0": scaling.min_replicas == 0,
    }
    return [name for name, wanted in asked.items() if wanted]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _number(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.01')):f}".rstrip("0").rstrip(".")
