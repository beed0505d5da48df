"""Kubernetes Events: what a person sees at the end of `kubectl describe cmodel`."""

from datetime import datetime
from typing import Any, NamedTuple

from controllable_operator import rollout
from controllable_operator.api import API_VERSION, KIND, ControllableModel, Status
from controllable_operator.api.types import timestamp
from controllable_operator.client import Client
from controllable_operator.desired.common import MANAGER, content_hash
from controllable_operator.errors import Conflict
from controllable_operator.kinds import EVENT

# On the way to being ready nobody has to act.
_SILENT_REASONS = {"Progressing"}


class _News(NamedTuple):
    """What is worth telling. good: nobody has to act."""

    good: bool
    reason: str
    message: str


def events_for(model: ControllableModel, status: Status, now: datetime) -> list[dict[str, Any]]:
    """The Events that tell the change from the model's previous status to `status`."""
    news = []
    for kind in ("Ready", "Contested"):
        before, after = _news(model.status, kind), _news(status, kind)
        if after and after != before and after.reason not in _SILENT_REASONS:
            news.append(after)
    if progress := rollout.news(model.status.rollout, status.rollout):
        news.append(_News(True, *progress))
    return [_event(model, item, now) for item in news]


def _event(model: ControllableModel, news: _News, now: datetime) -> dict[str, Any]:
    """The Event. Its name follows from what it says: the same news is counted in it and fills no list."""
    meta = model.metadata
    stamp = timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta.name}.{content_hash([meta.uid, news.reason, news.message])}",
            "namespace": meta.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        },
        "type": "Normal" if news.good else "Warning",
        "reason": news.reason,
        "message": news.message[:1024],
        "count": 1,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": MANAGER,
    }


def post(client: Client, event: dict[str, Any]) -> None:
    """Write the Event, or count it again if it's there already."""
    namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
    try:
        client.create(EVENT, event)
    except Conflict:
        existing = client.get(EVENT, namespace, name)
        if existing is not None:
            again = {"count": existing.get("count", 1) + 1, "lastTimestamp": event["lastTimestamp"]}
            client.merge(EVENT, namespace, name, again)


def _news(status: Status, kind: str) -> _News | None:
    for condition in status.conditions or []:
        if condition.type == kind:
            good = kind == "Ready" and condition.status == "True"
            return _News(good, condition.reason, condition.message)
    return None
