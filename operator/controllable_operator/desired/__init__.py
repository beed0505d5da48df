"""What should exist for a model: one pure builder for each kind of child."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired.autoscaler import autoscaler
from controllable_operator.desired.config_map import config_map
from controllable_operator.desired.deployment import canary_deployment, deployment
from controllable_operator.desired.disruption_budget import disruption_budget
from controllable_operator.desired.gpus import claim_templates
from controllable_operator.desired.http_route import http_route
from controllable_operator.desired.monitoring import monitoring
from controllable_operator.desired.network_policy import network_policy
from controllable_operator.desired.revision import Tracks, controller_revision, newest_revision
from controllable_operator.desired.service import canary_service, service
from controllable_operator.desired.weights import cache
from controllable_operator.kinds import HTTP_ROUTE
from controllable_operator.placement.placed import place
from controllable_operator.settings import Settings

Manifest = dict[str, Any]


def desired(
    model: ControllableModel, settings: Settings, cluster: Cluster, tracks: Tracks | None = None
) -> list[Manifest]:
    """All children of `model`, in the order in which they are to be applied.

    What pods need is there before the pods: their configuration, the policy that guards them, the cache.
    `tracks` says which revisions there are to be; without it there is the newest one only.

    Raises:
        InvalidSpec: no pods can be made from this spec.
    """
    if tracks is None:
        newest = newest_revision(model, settings, place(model, cluster.gpus, settings.nvlink_attribute))
        tracks = Tracks(newest, newest)
    guard = [network_policy(model, settings)] if model.spec.network_policy.enabled else []
    scaler = autoscaler(model, settings, cluster)
    engines = sorted({*(revision.engine for revision in tracks.revisions), *tracks.engines})
    routed = shares_by_gateway(model, cluster)
    kept = cache(model)
    return [
        *(controller_revision(model, revision) for revision in tracks.revisions),
        *(config_map(model, engine) for engine in engines),
        *guard,
        *(claim_templates(model, [revision.template for revision in tracks.revisions])),
        *([kept] if kept else []),
        service(model, only_stable=routed),
        deployment(model, tracks.stable.template),
        *_canary(model, tracks, routed),
        *_route(model, tracks, routed),
        *([disruption_budget(model)] if model.spec.wanted_replicas > 1 else []),
        *monitoring(model, cluster),
        *([scaler] if scaler else []),
    ]


def shares_by_gateway(model: ControllableModel, cluster: Cluster) -> bool:
    """Whether a Gateway shares out the requests between a canary and the others."""
    return model.spec.rollout.gateway is not None and cluster.has(HTTP_ROUTE)


def _canary(model: ControllableModel, tracks: Tracks, routed: bool) -> list[Manifest]:
    if tracks.canary_replicas is None:
        return []
    pods = canary_deployment(model, tracks.newest.template, tracks.canary_replicas)
    return [canary_service(model), pods] if routed else [pods]


def _route(model: ControllableModel, tracks: Tracks, routed: bool) -> list[Manifest]:
    gateway = model.spec.rollout.gateway
    if gateway is None or not routed:
        return []
    weight = None if tracks.canary_replicas is None else tracks.canary_weight
    return [http_route(model, gateway, weight)]
