"""status from what was seen: (model, deployment, pods, error) in, status out. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from controllable_operator.api import (
    Condition,
    ControllableModel,
    ControlStatus,
    PlacementStatus,
    RolloutStatus,
    ScalingStatus,
    Status,
)
from controllable_operator.api.types import timestamp
from controllable_operator.desired.common import label_selector, selector_labels
from controllable_operator.desired.service import endpoints
from controllable_operator.errors import ApiError, OperatorError
from controllable_operator.pods import PodReport, Problem, Stage, worst
from controllable_operator.quota import REMEDY
from controllable_operator.rollout import CANARY_STATES

# After so many attempts it is not a passing trouble of the network any more.
_STALLED_ATTEMPTS = 3
_STALLED_REASONS = {"ModelNotFound", "ModelLoadFailed"}

_ROLLED_BACK = "RolledBack"

_STATUS: dict[bool | None, Literal["True", "False", "Unknown"]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}
_OF_CHILDREN = {"ScalingActive", "Monitored"}

_WITH_DIGITS = re.compile(r"[\w-]*\d[\w-]*")
_CLAUSE_END = re.compile(r"[,.:;] ")

Verdict = tuple[bool | None, str, str]  # status, reason, message


def build_status(
    model: ControllableModel,
    *,
    template_hash: str | None,
    deployments: Iterable[dict[str, Any]],
    pods: list[PodReport],
    error: OperatorError | None,
    now: datetime,
    further: Mapping[str, Verdict] | None = None,
    scaling: ScalingStatus | None = None,
    control: ControlStatus | None = None,
    rollout: RolloutStatus | None = None,
    placement: PlacementStatus | None = None,
) -> Status:
    """The model's status.

    Args:
        model: the resource as it was read when this reconciliation began, with its previous status.
        template_hash: of the pod template that the newest generation wants; None if there is none.
        deployments: the live ones, of pods that serve and of a canary.
        pods: reports of all pods of the model, of any generation.
        error: what kept the children from being applied, None if they were.
        now: the time of this observation.
        further: verdicts of conditions that are none of the pods', by type.
        scaling: what the autoscaler did, None if there is none.
        control: what was measured, None if nothing was.
        rollout: how far the newest revision got, None if that is not known.
        placement: how the GPUs are asked for, None for a model that runs on the CPU.

    `observedGeneration` moves only once the generation was really reconciled, or was found to be impossible.
    """
    current = [pod for pod in pods if pod.template_hash == template_hash]
    problem = _worst(current) or worst(filter(None, map(_refused, deployments)))
    ready = _ready(model, current, len(pods) - len(current), problem, error, rollout)
    stalled = _stalled(error, problem) or ready[1] == _ROLLED_BACK
    verdicts = {"Ready": ready, "ModelLoaded": _model_loaded(model, current)} | dict(further or {})
    if stalled:
        verdicts["Stalled"] = (True, ready[1], ready[2])
    reconciled = error is None or error.permanent
    return Status(
        observed_generation=model.metadata.generation if reconciled else model.status.observed_generation,
        phase=_phase(model, current, pods, ready, stalled),
        replicas=len(pods),
        ready_replicas=_count(pods, Stage.READY),
        selector=label_selector(selector_labels(model.metadata.name)),
        endpoints=endpoints(model),
        model=min((p.fetched for p in current if p.fetched), key=lambda m: m.digest, default=None),
        scaling=scaling,
        control=control,
        rollout=rollout,
        placement=placement,
        conditions=[*_conditions(model, verdicts, now), *(_told_before(model, verdicts) if error else [])],
    )


def _ready(
    model: ControllableModel,
    current: list[PodReport],
    older: int,
    problem: Problem | None,
    error: OperatorError | None,
    rollout: RolloutStatus | None,
) -> Verdict:
    wanted, serving = model.spec.wanted_replicas, _count(current, Stage.READY)
    if error is not None:
        text = str(error)
        return False, error.reason, _steady(model, "Ready", text, text if isinstance(error, ApiError) else "")
    if model.spec.suspend:
        return True, "Suspended", f"stopped on purpose; without spec.suspend, {_back(model)}"
    if wanted == 0:
        return True, "ScaledToZero", "no pods are asked for; set spec.replicas to serve"
    if rollout and rollout.state == "RolledBack":
        return False, _ROLLED_BACK, f"{rollout.reason}; the revision before it serves. Change the spec"
    if serving >= wanted and not older:
        return True, "Serving", f"{serving} of {wanted} pods answer{_budget(model)}"
    if problem:
        return False, problem.ready, _steady(model, "Ready", problem.message, problem.noise)
    if rollout and rollout.strategy == "Canary" and rollout.state in CANARY_STATES:
        return False, "Progressing", f"canary, {rollout.reason}"
    progress = f"{min(serving, wanted)} of {wanted} pods of this generation answer"
    if serving >= wanted:
        return False, "Progressing", f"{progress}; older ones are still there"
    if any(pod.stage is Stage.SILENT for pod in current):
        return False, "PodsNotReady", f"{progress}; one that did has fallen silent"
    slowest = next((stage for stage in Stage if _count(current, stage)), Stage.PENDING)
    return False, "Progressing", f"{progress}; the slowest one {slowest.value}"


def _budget(model: ControllableModel) -> str:
    """What to add where somebody asks for more pods than spec.scaling.maxGPUs allows."""
    asked, wanted = model.spec.replicas, model.spec.wanted_replicas
    return f"; scaling.maxGPUs allows no more of the {asked} asked for" if asked > wanted else ""


def _back(model: ControllableModel) -> str:
    replicas = model.spec.replicas
    return f"{replicas} pods start" if replicas > 1 else "one pod starts" if replicas else "no pod starts"


def _steady(model: ControllableModel, kind: str, message: str, noise: str) -> str:
    """The message, or the one told before where only counts, ports, times or ids differ in `noise`, its end.

    They are no news, and every write of a status makes the operator look, and be refused, once more.
    """
    head = message.removesuffix(noise)
    for told in (model.status.conditions or []) if noise else []:
        same = told.type == kind and told.observed_generation == model.metadata.generation
        if same and told.message.startswith(head) and _words(told.message[len(head) :]) == _words(noise):
            return told.message
    return message


def _words(message: str) -> list[str]:
    """Its clauses without numbers. The scheduler sorts them by these."""
    return sorted(clause.strip(" .") for clause in _CLAUSE_END.split(_WITH_DIGITS.sub("", message)))


def _model_loaded(model: ControllableModel, current: list[PodReport]) -> Verdict:
    if not current:
        zero = "Suspended" if model.spec.suspend else "ScaledToZero"
        return False, "NoPods" if model.spec.wanted_replicas else zero, "there are no pods of this generation"
    if problem := _worst(current):
        return False, problem.loaded, _steady(model, "ModelLoaded", problem.message, problem.noise)
    for stage, reason in (
        (Stage.SILENT, "EngineDead"),
        (Stage.GATED, "Pending"),
        (Stage.PENDING, "Pending"),
        (Stage.FETCHING, "Fetching"),
        (Stage.LOADING, "Loading"),
    ):
        if count := _count(current, stage):
            return False, reason, f"{count} of {len(current)} pods: {stage.value}"
    return True, "Loaded", f"the model answers in {len(current)} of {len(current)} pods"


def _phase(
    model: ControllableModel, current: list[PodReport], pods: list[PodReport], ready: Verdict, stalled: bool
) -> str:
    if ready[1] == _ROLLED_BACK:
        return _ROLLED_BACK
    if stalled:
        return "Failed"
    if model.spec.suspend:
        return "Suspended"
    if model.spec.replicas == 0:
        return "ScaledToZero"
    if len(pods) > len(current) and _count(pods, Stage.READY):
        return "Updating"
    if ready[0]:
        return "Ready"
    if _count(current, Stage.READY) or _count(current, Stage.SILENT):
        return "Degraded"
    if _count(current, Stage.LOADING):
        return "Loading"
    return "Fetching" if _count(current, Stage.FETCHING) else "Pending"


def _worst(pods: list[PodReport]) -> Problem | None:
    return worst(pod.problem for pod in pods if pod.problem)


def _refused(deployment: dict[str, Any]) -> Problem | None:
    """The problem of a Deployment that is not allowed to make pods (quota, Pod Security, a webhook)."""
    conditions = deployment.get("status", {}).get("conditions", [])
    for condition in conditions:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = condition.get("message", "pods can't be created")
            _, exceeded, amounts = message.partition("exceeded quota")
            if exceeded:  # without the pod's name, which is another one at each try
                message = f"no pod may be made: {exceeded}{amounts}; {REMEDY}"
            reason = "InsufficientCapacity" if exceeded else "PodsNotReady"
            return Problem(reason, reason, message)
    return None


def _stalled(error: OperatorError | None, problem: Problem | None) -> bool:
    if error is not None:
        return error.permanent
    return problem is not None and problem.ready in _STALLED_REASONS and problem.attempts >= _STALLED_ATTEMPTS


def _conditions(model: ControllableModel, verdicts: dict[str, Verdict], now: datetime) -> list[Condition]:
    previous = {condition.type: condition for condition in model.status.conditions or []}
    stamp = timestamp(now)
    conditions = []
    for kind, (verdict, reason, message) in verdicts.items():
        status = _STATUS[verdict]
        before = previous.get(kind)
        conditions.append(
            Condition(
                type=kind,
                status=status,
                observed_generation=model.metadata.generation,
                last_transition_time=before.last_transition_time
                if before and before.status == status
                else stamp,
                reason=reason,
                message=message,
            )
        )
    return conditions


def _told_before(model: ControllableModel, verdicts: Mapping[str, Verdict]) -> list[Condition]:
    """What was found out about the children when they could be applied; now there is nothing to tell."""
    told = model.status.conditions or []
    return [condition for condition in told if condition.type in _OF_CHILDREN - set(verdicts)]


def _count(pods: list[PodReport], stage: Stage) -> int:
    return sum(pod.stage is stage for pod in pods)
