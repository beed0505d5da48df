"""`reconcile(namespace, name)`: read, build, apply, observe, tell. Safe to call at any time, and twice."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from controllable_operator.api import API_VERSION, KIND, ControllableModel, ControlStatus, Status
from controllable_operator.apply import Applied, apply
from controllable_operator.canary import advance
from controllable_operator.client import Client
from controllable_operator.cluster import Cluster
from controllable_operator.contention import Contention
from controllable_operator.desired import desired, shares_by_gateway
from controllable_operator.desired.autoscaler import obstacle as scaling_obstacle
from controllable_operator.desired.deployment import template_hash
from controllable_operator.desired.revision import newest_revision
from controllable_operator.desired.weights import check_mounted
from controllable_operator.errors import (
    ApiError,
    Forbidden,
    InvalidSpec,
    NameConflict,
    NotFound,
    OperatorError,
    Unplaceable,
)
from controllable_operator.events import events_for, post
from controllable_operator.kinds import CONFIG_MAP, DEPLOYMENT, MODEL, POD, RESOURCE_QUOTA, REVISION
from controllable_operator.metrics import WRITES
from controllable_operator.monitored import monitored
from controllable_operator.placement.placed import Placed
from controllable_operator.placing import allocated, explained, placed, unclaimed_devices
from controllable_operator.pods import reports
from controllable_operator.quota import refusal
from controllable_operator.rollout import Share, look_again_in
from controllable_operator.scaling import scaling_status
from controllable_operator.settings import Settings
from controllable_operator.status import Verdict, build_status
from controllable_operator.store import Key, Store
from controllable_operator.tracks import Standing
from controllable_operator.traffic import TrafficReader

logger = logging.getLogger(__name__)

# What trying again may mend is told once it failed so often in a row.
_TOLD_AFTER = 3
# That a pod waits for its claim, and whether a quota has room for it by now, is told by nobody.
_CLAIM_SECONDS = 10.0
# Conditions of ours that are not always there.
_ONLY_SOMETIMES = {"Stalled", "Contested", "TopologySatisfied", "FitsMemory"}


@dataclass(frozen=True)
class Context:
    """What every reconciliation works with.

    cluster: called for what the cluster offers at the moment.
    measured: called for what the control of a model comes to at the moment.
    """

    client: Client
    store: Store
    settings: Settings
    cluster: Callable[[], Cluster] = Cluster
    measured: Callable[[Key], ControlStatus | None] = lambda _: None
    contention: Contention = field(default_factory=Contention)
    traffic: TrafficReader = field(default_factory=TrafficReader)


def reconcile(context: Context, namespace: str, name: str, failures: int = 0) -> float | None:
    """Bring the children and the status of one model in line with its spec and with what is so.

    Deleting needs nothing from here: the children name the model as their owner, and the garbage collector
    removes them after it. `failures` is how often it failed in a row before. Returns the seconds after which
    it has to be called again, though nothing may have changed by then.

    Raises:
        OperatorError: it has to be tried again; what somebody has to act on stands in the status already.
    """
    manifest = context.store.get(MODEL, namespace, name)
    if manifest is None or "deletionTimestamp" in manifest["metadata"]:
        context.contention.forget((namespace, name))
        context.traffic.forget((namespace, name))
        return None
    try:
        # If not even this can be read no status can be written either. The CRD keeps that from happening.
        return _reconcile(context, ControllableModel.parse(manifest), failures)
    except NotFound as error:
        logger.info("%s/%s goes away: %s", namespace, name, error)
        return None


def _reconcile(context: Context, model: ControllableModel, failures: int) -> float | None:
    namespace, name = model.metadata.namespace, model.metadata.name
    cluster = context.cluster()
    applied = Applied({}, None)
    wanted_hash: str | None = None
    error: OperatorError | None = None
    unclaimed: dict[str, Any] | None = None
    refused: str | None = None
    rollout = model.status.rollout
    now, clock = datetime.now(UTC), time.monotonic()
    gpus = placed(context.store, model, cluster, context.settings)
    try:
        standing = _standing(context, model, cluster, gpus)
        wanted_hash = standing.newest.hash
        if gpus and model.spec.wanted_replicas:
            gpus.check()
        wanted = desired(model, context.settings, cluster, standing.tracks())
        applied = apply(context.client, context.store, context.contention, model, wanted)
        for child in applied.children.values():
            if child["kind"] == DEPLOYMENT.name and template_hash(child["spec"]["template"]) == wanted_hash:
                check_mounted(model, child)
        afterwards = replace(standing, children=list(applied.children.values()))
        rollout = advance(afterwards, context.traffic, now)
        unclaimed = unclaimed_devices(context.store, model, wanted_hash)
        refused = refusal(unclaimed, _quotas(context, namespace)) if unclaimed else None
    except OperatorError as failure:
        if not _belongs_into_status(failure, failures):
            raise
        error = failure
    further: dict[str, Verdict] = {}
    scaling = model.status.scaling
    if error is None:
        further["Monitored"] = monitored(model, cluster)
        obstacle = scaling_obstacle(model, context.settings, cluster)
        further["ScalingActive"], scaling = scaling_status(model, obstacle, applied.children.values(), now)
    if gpus:
        further |= gpus.verdicts(allocated(context.store, model, gpus, wanted_hash))
    if disputes := context.contention.disputes((namespace, name), clock):
        further["Contested"] = (True, "FieldsReverted", "; ".join(disputes))
    pods = reports(context.store.owned(POD, namespace, name))
    status = build_status(
        model,
        template_hash=wanted_hash,
        deployments=[child for child in applied.children.values() if child["kind"] == DEPLOYMENT.name],
        pods=explained(pods, gpus, refused) if gpus else pods,
        error=error,
        now=now,
        further=further,
        scaling=scaling,
        control=context.measured((namespace, name)),
        rollout=rollout,
        placement=gpus.status() if gpus else None,
    )
    _tell(context, model, status)
    if error is not None:
        raise error
    waits = [applied.again_in, context.contention.peace_in((namespace, name), clock)]
    waits.append(_CLAIM_SECONDS if unclaimed else None)
    if rollout is not None:
        # What is recorded now is acted on in the next call.
        moved = rollout != model.status.rollout
        waits.append(0.0 if moved else look_again_in(model.spec.rollout, rollout, now))
    return min((wait for wait in waits if wait is not None), default=None)


def _standing(context: Context, model: ControllableModel, cluster: Cluster, gpus: Placed | None) -> Standing:
    """How the revisions of the model stand."""
    meta, spec = model.metadata, model.spec
    kinds = (DEPLOYMENT, REVISION, CONFIG_MAP)
    return Standing(
        model=model,
        newest=newest_revision(model, context.settings, gpus),
        children=[child for kind in kinds for child in context.store.owned(kind, meta.namespace, meta.name)],
        pods=context.store.owned(POD, meta.namespace, meta.name),
        share=Share(
            spec.wanted_replicas, shares_by_gateway(model, cluster), spec.scaling.most(spec.gpu.count)
        ),
    )


def _quotas(context: Context, namespace: str) -> list[dict[str, Any]]:
    return context.client.list(RESOURCE_QUOTA, namespace, "", dict)[0]


def _belongs_into_status(error: OperatorError, failures: int) -> bool:
    """Whether somebody other than the operator has to act: at once for a refusal, else if it goes on."""
    if isinstance(error, InvalidSpec | NameConflict | Forbidden | Unplaceable):
        return True
    if not isinstance(error, ApiError) or isinstance(error, NotFound):
        return False
    # Where no answer comes (0) a status could not be written either.
    return error.status == 400 or (error.status > 0 and failures >= _TOLD_AFTER)


def _tell(context: Context, model: ControllableModel, status: Status) -> None:
    """Write the status if it changed, and Events if that is news."""
    if status == _ours(model.status, status):
        return
    meta = model.metadata
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        # With the uid, a successor of the same name doesn't inherit this status.
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "status": status.to_json(),
    }
    context.store.put(MODEL, context.client.apply(MODEL, body, subresource="status"))
    WRITES.labels(kind=KIND, verb="status").inc()
    for event in events_for(model, status, datetime.now(UTC)):
        try:
            post(context.client, event)
        except NotFound:
            raise
        except ApiError as error:
            # An Event is a courtesy; the status has been written.
            logger.warning("no Event for %s/%s: %s", meta.namespace, meta.name, error)


def _ours(previous: Status, status: Status) -> Status:
    """`previous` as far as we wrote it: without the conditions that others added."""
    types = {condition.type for condition in status.conditions or []} | _ONLY_SOMETIMES
    conditions = [condition for condition in previous.conditions or [] if condition.type in types]
    return previous.model_copy(update={"conditions": conditions})
