"""`reconcile(namespace, name)`: read, build, apply, observe, tell. Safe to call at any time, and twice."""

import logging
from datetime import UTC, datetime
from typing import Any

from controllable_operator.api import API_VERSION, KIND, ControllableModel, Status
from controllable_operator.apply import apply
from controllable_operator.client import Client
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.desired.autoscaler import obstacle as scaling_obstacle
from controllable_operator.desired.common import label_selector, selector_labels
from controllable_operator.desired.deployment import template_hash
from controllable_operator.errors import (
    ApiError,
    Forbidden,
    InvalidSpec,
    NameConflict,
    NotFound,
    OperatorError,
)
from controllable_operator.events import event_for, post
from controllable_operator.kinds import MODEL, POD
from controllable_operator.metrics import WRITES
from controllable_operator.pods import reports
from controllable_operator.scaling import scaling_status
from controllable_operator.settings import Settings
from controllable_operator.status import Verdict, build_status

logger = logging.getLogger(__name__)

# What trying again may mend is told once it failed so often in a row.
_TOLD_AFTER = 3


def reconcile(
    client: Client, settings: Settings, cluster: Cluster, namespace: str, name: str, failures: int = 0
) -> None:
    """Bring the children and the status of one model in line with its spec and with what is so.

    Deleting needs nothing from here: the children name the model as their owner, and the garbage collector
    removes them after it. `failures` is how often it failed in a row before.

    Raises:
        OperatorError: it has to be tried again; what somebody has to act on stands in the status already.
    """
    manifest = client.get(MODEL, namespace, name)
    if manifest is None or "deletionTimestamp" in manifest["metadata"]:
        return
    try:
        # If not even this can be read no status can be written either. The CRD keeps that from happening.
        _reconcile(client, settings, cluster, ControllableModel.parse(manifest), failures)
    except NotFound as error:
        logger.info("%s/%s goes away: %s", namespace, name, error)


def _reconcile(
    client: Client, settings: Settings, cluster: Cluster, model: ControllableModel, failures: int
) -> None:
    namespace, name = model.metadata.namespace, model.metadata.name
    children: dict[tuple[str, str], dict[str, Any]] = {}
    wanted_hash: str | None = None
    error: OperatorError | None = None
    try:
        wanted = desired(model, settings, cluster)
        wanted_hash = next(template_hash(m["spec"]["template"]) for m in wanted if m["kind"] == "Deployment")
        children = apply(client, model, wanted, cluster.kinds)
    except OperatorError as failure:
        if not _belongs_into_status(failure, failures):
            raise
        error = failure
    now = datetime.now(UTC)
    further: dict[str, Verdict] = {}
    scaling = model.status.scaling
    if error is None:
        obstacle = scaling_obstacle(model, settings, cluster)
        further["ScalingActive"], scaling = scaling_status(model, obstacle, children.values(), now)
    pods = client.list(POD, namespace, label_selector(selector_labels(name)))
    status = build_status(
        model,
        template_hash=wanted_hash,
        deployment=children.get(("Deployment", name)),
        pods=reports(pods),
        error=error,
        now=now,
        further=further,
        scaling=scaling,
    )
    _tell(client, model, status)
    if error is not None:
        raise error


def _belongs_into_status(error: OperatorError, failures: int) -> bool:
    """Whether somebody other than the operator has to act: at once for a refusal, else if it goes on."""
    if isinstance(error, InvalidSpec | NameConflict | Forbidden):
        return True
    if not isinstance(error, ApiError) or isinstance(error, NotFound):
        return False
    # Where no answer comes (0) a status could not be written either.
    return error.status == 400 or (error.status > 0 and failures >= _TOLD_AFTER)


def _tell(client: Client, model: ControllableModel, status: Status) -> None:
    """Write the status if it changed, and an Event if that is news."""
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
    client.apply(MODEL, body, subresource="status")
    WRITES.labels(kind=KIND, verb="status").inc()
    if event := event_for(model, status, datetime.now(UTC)):
        try:
            post(client, event)
        except NotFound:
            raise
        except ApiError as error:
            # An Event is a courtesy; the status has been written.
            logger.warning("no Event for %s/%s: %s", meta.namespace, meta.name, error)


def _ours(previous: Status, status: Status) -> Status:
    """`previous` as far as we wrote it: without the conditions that others added."""
    types = {condition.type for condition in status.conditions or []} | {"Stalled"}
    conditions = [condition for condition in previous.conditions or [] if condition.type in types]
    return previous.model_copy(update={"conditions": conditions})
