"""A model's GPUs as the store tells: the plan for them, which ones its pods got, and why some got none."""

import json
from dataclasses import replace
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.conditions import condition
from controllable_operator.desired.deployment import template_hash
from controllable_operator.desired.gpus import CLAIM, planned
from controllable_operator.kinds import DEPLOYMENT, NODE, POD, RESOURCE_CLAIM, RESOURCE_SLICE
from controllable_operator.placement.allocated import Allocated, by_claims, by_nodes
from controllable_operator.placement.placed import Placed, place
from controllable_operator.pods import PodReport, Problem, Stage, counts, reports
from controllable_operator.quota import REMEDY
from controllable_operator.settings import Settings
from controllable_operator.store import Store


def placed(store: Store, model: ControllableModel, cluster: Cluster, settings: Settings) -> Placed | None:
    """The plan, None for a model that runs on the CPU."""
    meta = model.metadata
    deployments = store.owned(DEPLOYMENT, meta.namespace, meta.name)
    plans = [planned(deployment["spec"]["template"]) for deployment in deployments]
    pods = reports(store.owned(POD, meta.namespace, meta.name))
    return place(
        model,
        cluster.gpus,
        settings.nvlink_attribute,
        before=[plan for plan in plans if plan],
        serving=any(pod.stage is Stage.READY for pod in pods),
    )


def allocated(store: Store, model: ControllableModel, found: Placed, newest: str | None) -> list[Allocated]:
    """The replicas of the newest revision that have their GPUs; none where nobody asks what connects them."""
    if found.ask.nvlink == "none":
        return []
    meta, pods = model.metadata, _replicas(store, model, newest)
    if found.placement.mechanism != "DRA":
        return by_nodes(pods, store.all(NODE), found.placement.gpus)
    names = {pod["metadata"]["name"] for pod in pods}
    claims: list[dict[str, Any]] = store.owned(RESOURCE_CLAIM, meta.namespace, meta.name)
    replicas = by_claims(found.placement, claims, store.all(RESOURCE_SLICE))
    return [replica for replica in replicas if replica.pod in names]


def unclaimed_devices(store: Store, model: ControllableModel, newest: str | None) -> dict[str, Any] | None:
    """The devices that a pod of the newest revision has no claim on yet, None where all have theirs."""
    for pod in _replicas(store, model, newest):
        claim = pod["metadata"].get("annotations", {}).get(CLAIM)
        if claim and not _is_settled(pod):
            return dict(json.loads(claim))
    return None


def _replicas(store: Store, model: ControllableModel, newest: str | None) -> list[dict[str, Any]]:
    """The pods of the newest revision."""
    pods = store.owned(POD, model.metadata.namespace, model.metadata.name)
    return [pod for pod in pods if counts(pod) and template_hash(pod) == newest]


def _is_settled(pod: dict[str, Any]) -> bool:
    """Whether the pod has its claims."""
    claimed = (pod.get("status") or {}).get("resourceClaimStatuses")
    return bool(claimed) or condition(pod, "PodScheduled").get("status") == "True"


def explained(pods: list[PodReport], found: Placed, refusal: str | None) -> list[PodReport]:
    """The reports, with what is asked for and what is there where a pod finds no GPUs.

    Args:
        refusal: why pods without a claim have none, None where that is not known.
    """
    return [_explained(pod, found, refusal) for pod in pods]


def _explained(pod: PodReport, found: Placed, refusal: str | None) -> PodReport:
    problem = pod.problem
    if problem and problem.ready == "InsufficientCapacity":
        remedy = "ask for fewer GPUs, add nodes, or wait until others end"
        told = f"{found.balance}; {remedy}. The scheduler: {problem.message}"
        return replace(pod, problem=replace(problem, message=told))
    if refusal and problem is None and pod.stage is Stage.PENDING:
        message = f"no GPUs may be claimed: {refusal}; {REMEDY}"
        return replace(pod, problem=Problem("InsufficientCapacity", "InsufficientCapacity", message))
    return pod
