"""`events`: what was told about a model and about all that it owns, by time."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from controllable_operator.kinds import EVENT
from controllable_operator.plugin.connection import Connection
from controllable_operator.plugin.view import FittingTable, age

Manifest = dict[str, Any]


def events(connection: Connection, namespace: str, uids: set[str]) -> list[Manifest]:
    """The events of the objects with these uids, the oldest first."""
    return build(connection.list(EVENT.path(namespace)), uids)


def build(items: Iterable[Manifest], uids: set[str]) -> list[Manifest]:
    """Events as plain data; those that say the same of the same object are counted in one."""
    found: dict[tuple[str, ...], Manifest] = {}
    for item in items:
        about = item.get("involvedObject") or {}
        if about.get("uid") not in uids:
            continue
        event = {
            "last": _last(item),
            "first": item.get("firstTimestamp") or item.get("eventTime") or _last(item),
            "count": (item.get("series") or {}).get("count") or item.get("count") or 1,
            "type": item.get("type") or "Normal",
            "kind": about.get("kind", ""),
            "name": about.get("name", ""),
            "reason": item.get("reason", ""),
            "message": " ".join((item.get("message") or "").split()),
            "source": item.get("reportingComponent") or (item.get("source") or {}).get("component", ""),
        }
        key = tuple(str(event[part]) for part in ("kind", "name", "reason", "message"))
        if same := found.get(key):
            event["count"] += same["count"]
            event["first"] = min(same["first"], event["first"], key=_moment)
            event["last"] = max(same["last"], event["last"], key=_moment)
        found[key] = event
    return sorted(found.values(), key=lambda event: (_moment(event["last"]), event["name"]))


def render(found: list[Manifest], now: datetime) -> RenderableType:
    """A table of events, the newest last."""
    if not found:
        return Text("no events (they are kept for about an hour)", style="dim")
    rows = [
        (
            age(event["last"], now),
            f"×{event['count']}" if event["count"] > 1 else "",
            Text(event["type"], style="yellow" if event["type"] == "Warning" else ""),
            event["reason"],
            f"{event['kind'].lower()}/{event['name']}",
            event["message"],
        )
        for event in found
    ]
    return FittingTable(
        ("LAST", "COUNT", "TYPE", "REASON", "OBJECT", "MESSAGE"), rows, "MESSAGE", ("TYPE", "OBJECT")
    )


def _last(item: Manifest) -> str:
    series = item.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or item.get("lastTimestamp")
        or item.get("eventTime")
        or item["metadata"]["creationTimestamp"]
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
