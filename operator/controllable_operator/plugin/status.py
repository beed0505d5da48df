"""`status`: one model, what it owns, why it is not ready, and what to do."""

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from controllable_operator.kinds import POD
from controllable_operator.plugin import diagnosis, tree
from controllable_operator.plugin import events as event_list
from controllable_operator.plugin.connection import Connection
from controllable_operator.plugin.errors import PluginError
from controllable_operator.plugin.marks import IDLE, OK
from controllable_operator.plugin.models import model as find_model
from controllable_operator.plugin.view import STYLES, FittingTable, Mark, age, section

Manifest = dict[str, Any]

_LOG_LINES = 10
_EVENTS = 10
# With more pods than this, only the containers of those that are not well are shown.
_PODS_IN_FULL = 3
# Parts of the status that are told elsewhere.
_TOLD = {"conditions", "observedGeneration", "phase", "replicas", "readyReplicas", "selector", "endpoints"}


def gather(connection: Connection, namespace: str, name: str) -> Manifest:
    """All that there is to know about a model, as the document of `-o json`."""
    model = find_model(connection, namespace, name)
    objects, unseen = tree.collect(connection, model)
    uids = {item["metadata"]["uid"] for item in (model, *objects)}
    try:
        told = event_list.events(connection, namespace, uids)
    except PluginError:
        told, unseen = [], sorted({*unseen, "events"})
    pods = [item for item in objects if item["kind"] == "Pod"]
    return build(model, objects, told, unseen, _log(connection, namespace, pods))


def build(
    model: Manifest,
    objects: list[Manifest],
    events: list[Manifest],
    unseen: list[str],
    log: Manifest | None,
) -> Manifest:
    """The document, from what was read. Keys are stable: docs/kubectl-plugin.md names them."""
    meta, spec, status = model["metadata"], model.get("spec", {}), model.get("status") or {}
    conditions = diagnosis.conditions(model)
    ready = next((entry for entry in conditions if entry["type"] == "Ready"), None)
    findings = diagnosis.findings(model)
    # A log that ends in what a message says already tells nothing new.
    last = log["lines"][-1].strip() if log else ""
    quoted = log and any(last in found["message"] or found["message"] in last for found in findings)
    return {
        "name": meta["name"],
        "namespace": meta["namespace"],
        "created": meta.get("creationTimestamp"),
        "generation": meta.get("generation"),
        "observedGeneration": status.get("observedGeneration"),
        "uri": spec.get("model", {}).get("uri"),
        "phase": status.get("phase"),
        "ready": bool(ready and ready["status"] == "True"),
        "replicas": {
            "wanted": 0 if spec.get("suspend") else spec.get("replicas", 1),
            "existing": status.get("replicas", 0),
            "ready": status.get("readyReplicas", 0),
        },
        "endpoints": status.get("endpoints") or {},
        "conditions": conditions,
        "findings": findings,
        "log": None if quoted else log,
        "details": {key: value for key, value in status.items() if key not in _TOLD},
        "tree": tree.build(model, objects),
        "notLookedAt": unseen,
        "events": events,
    }


def render(document: Manifest, now: datetime) -> RenderableType:
    """The document for people."""
    parts: list[RenderableType] = [_headline(document), Text(), _tree(document["tree"], now)]
    if document["notLookedAt"]:
        unseen = ", ".join(document["notLookedAt"])
        parts.append(Text(f"not looked at, for want of rights or an answer: {unseen}", style="dim"))
    if document["findings"]:
        parts.append(section("What to do", *map(_finding, document["findings"])))
    if log := document["log"]:
        lines = [Text(f"  {line}", style="dim") for line in log["lines"]]
        parts.append(section(f"Last lines of container {log['container']} in pod {log['pod']}", *lines))
    if document["conditions"]:
        parts.append(section("Conditions", _conditions(document["conditions"], now)))
    for key, value in document["details"].items():
        parts.append(section(_title(key), *_detail(value, now)))
    newest = document["events"][-_EVENTS:]
    more = len(document["events"]) - len(newest)
    title = f"Events (the last {len(newest)}; {more} more: `events`)" if more else "Events"
    parts.append(section(title, event_list.render(newest, now)))
    return Group(*parts)


def _log(connection: Connection, namespace: str, pods: list[Manifest]) -> Manifest | None:
    """The last lines of the first container that failed; None where none did, or they can't be had."""
    failed = diagnosis.failed_container(pods)
    if failed is None:
        return None
    query = {"container": failed.container, "tailLines": str(_LOG_LINES)}
    if failed.previous:
        query["previous"] = "true"
    try:
        text = connection.text(POD.path(namespace, failed.pod, "log"), **query)
    except PluginError:
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    return {"pod": failed.pod, "container": failed.container, "lines": lines} if lines else None


def _headline(document: Manifest) -> Text:
    replicas, root = document["replicas"], document["tree"]
    text = Text()
    text.append(document["name"], style="bold")
    text.append(f" in namespace {document['namespace']}: ")
    text.append(document["phase"] or "Unknown", style=STYLES[root["health"]])
    text.append(f", {replicas['ready']} of {replicas['wanted']} pods answer; {document['uri']}")
    if document["endpoints"].get("openai"):
        text.append(f"; {document['endpoints']['openai']}")
    return text


def _tree(root: Manifest, now: datetime) -> Tree:
    fold = len(_nodes(root, "Pod")) > _PODS_IN_FULL
    result = Tree(_label(root, now), guide_style="dim")

    def grow(branch: Tree, node: Manifest) -> None:
        well = fold and node["kind"] == "Pod" and node["health"] == OK
        for child in [] if well else node["children"]:
            grow(branch.add(_label(child, now)), child)

    grow(result, root)
    return result


def _label(node: Manifest, now: datetime) -> RenderableType:
    words, old = node["words"], age(node["created"], now)
    text = Text(style="dim" if node["health"] == IDLE else "")
    text.append(f"{node['kind']}/{node['name']}" if node["kind"] != "container" else node["name"])
    if words:
        text.append(f"  {words}", style=STYLES[node["health"]])
    if old:
        text.append(f"  {old}", style="dim")
    return _marked(node["health"], text)


def _finding(finding: Manifest) -> RenderableType:
    text = Text()
    text.append(finding["reason"], style=STYLES[finding["health"]])
    text.append(f": {finding['message']}")
    if finding["advice"]:
        text.append(f"\n→ {finding['advice']}", style="bold")
    return _marked(finding["health"], text)


def _conditions(conditions: list[Manifest], now: datetime) -> RenderableType:
    rows = [
        (
            Mark(entry["health"]),
            entry["type"],
            entry["status"],
            entry["reason"],
            age(entry["lastTransitionTime"], now),
            entry["message"],
        )
        for entry in conditions
    ]
    return FittingTable(
        ("", "CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"), rows, "MESSAGE", ("SINCE",)
    )


def _detail(value: Any, now: datetime) -> list[RenderableType]:
    """A part of the status that has no view of its own: lists line by line, objects in a line."""
    if isinstance(value, list):
        return [line for item in value for line in _detail(item, now)]
    if not isinstance(value, dict):
        return [Text(f"  {value}")]
    plain = {key: item for key, item in value.items() if not isinstance(item, dict | list)}
    words = [f"{key} {_told(item, now)}" for key, item in plain.items()]
    lines: list[RenderableType] = [Text("  " + ", ".join(words))] if words else []
    for key, item in value.items():
        if isinstance(item, dict):
            inner = ", ".join(f"{name} {_told(entry, now)}" for name, entry in item.items())
            lines.append(Text(f"  {key}: {inner}"))
        elif isinstance(item, list) and item:
            lines += [Text(f"  {key}:"), *_detail(item, now)]
    return lines


def _told(value: Any, now: datetime) -> str:
    try:
        return f"{age(value, now)} ago"
    except (ValueError, TypeError):
        return str(value)


def _marked(health: str, text: Text) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Mark(health), text)
    return grid


def _title(key: str) -> str:
    return key[:1].upper() + key[1:]


def _nodes(node: Manifest, kind: str) -> list[Manifest]:
    return [node] * (node["kind"] == kind) + [n for child in node["children"] for n in _nodes(child, kind)]
