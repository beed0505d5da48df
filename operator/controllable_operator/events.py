"""Kubernetes Events: what a person sees at the end of `kubectl describe cmodel`."""

from datetime import datetime
from typing import Any

from controllable_operator.api import API_VERSION, KIND, ControllableModel, Status
from controllable_operator.client import Client
from controllable_operator.desired.common import MANAGER, content_hash
from controllable_operator.errors import Conflict
from controllable_operator.kinds import EVENT

# On the way to being ready nobody has to act.
_SILENT_REASONS = {"Progressing"}


def event_for(model: ControllableModel, status: Status, now: datetime) -> dict[str, Any] | None:
    """The Event that tells the change from the model's previous status to `status`, None if it's no news.

    Its name follows from what it says, so the same news is counted in one Event and does not fill a list.
    """
    before = _news(model.status)
    news = _news(status)
    if news is None or news == before or news[1] in _SILENT_REASONS:
        return None
    ok, reason, message = news
    meta = model.metadata
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta.name}.{content_hash([meta.uid, reason, message])}",
            "namespace": meta.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        },
        "type": "Normal" if ok else "Warning",
        "reason": reason,
        "message": message[:1024],
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


def _news(status: Status) -> tuple[bool, str, str] | None:
    for condition in status.conditions or []:
        if condition.type == "Ready":
            return condition.status == "True", condition.reason, condition.message
    return None
