"""A model's GPUs as the store tells: the plan for them, and which ones its pods got."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired.deployment import template_hash
from controllable_operator.desired.gpus import planned
from controllable_operator.kinds import DEPLOYMENT, NODE, POD, RESOURCE_CLAIM, RESOURCE_SLICE
from controllable_operator.placement.allocated import Allocated, by_claims, by_nodes
from controllable_operator.placement.placed import Placed, place
from controllable_operator.pods import Stage, reports
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
    """The replicas of the newest revision that have their GPUs."""
    meta = model.metadata
    pods = [pod for pod in store.owned(POD, meta.namespace, meta.name) if template_hash(pod) == newest]
    if found.placement.mechanism != "DRA":
        return by_nodes(pods, store.all(NODE), found.placement.gpus)
    names = {pod["metadata"]["name"] for pod in pods}
    claims: list[dict[str, Any]] = store.owned(RESOURCE_CLAIM, meta.namespace, meta.name)
    replicas = by_claims(found.placement, claims, store.all(RESOURCE_SLICE))
    return [replica for replica in replicas if replica.pod in names]
