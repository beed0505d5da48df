"""What a model owns, by uid through ownerReferences: whatever the kind, and whoever made it."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from controllable_operator.kinds import Kind
from controllable_operator.plugin.connection import METADATA_ONLY, PARALLEL, Connection
from controllable_operator.plugin.errors import NotFound, PluginError
from controllable_operator.plugin.health import container_health, health
from controllable_operator.plugin.marks import IDLE
from controllable_operator.plugin.served import Served, served

Manifest = dict[str, Any]

# Events are told elsewhere. What metrics.k8s.io lists are measurements, not objects.
_NO_CHILDREN = {"events", "bindings"}
_NO_GROUPS = ("metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io")
_FIRST = ("Deployment", "StatefulSet", "ReplicaSet", "Pod")


def collect(connection: Connection, root: Manifest) -> tuple[list[Manifest], list[str]]:
    """All objects that `root` owns, directly or not, and the kinds that could not be looked at.

    Only metadata is listed of everything in the namespace; what turns out to be owned is then read in full.
    """
    namespace = root["metadata"]["namespace"]
    kinds = [entry.kind for entry in served(connection) if _may_be_child(entry)]

    def metadata(kind: Kind) -> list[Manifest] | None:
        try:
            return connection.list(kind.path(namespace), METADATA_ONLY)
        except PluginError:
            return None

    def full(item: tuple[Kind, Manifest]) -> Manifest | None:
        kind, listed = item
        try:
            found = connection.get(kind.path(namespace, listed["metadata"]["name"]))
        except NotFound:
            return None  # gone meanwhile
        except PluginError:
            found = listed
        return {"apiVersion": kind.api_version, "kind": kind.name} | found

    with ThreadPoolExecutor(PARALLEL) as pool:
        listed = list(zip(kinds, pool.map(metadata, kinds), strict=True))
        candidates = [(kind, item) for kind, items in listed for item in items or []]
        owned_uids = descendants(root["metadata"]["uid"], [item for _, item in candidates])
        mine = [(kind, item) for kind, item in candidates if item["metadata"]["uid"] in owned_uids]
        objects = [found for found in pool.map(full, mine) if found]
    return objects, sorted({kind.plural for kind, items in listed if items is None})


def descendants(root_uid: str, objects: list[Manifest]) -> set[str]:
    """uids of all objects that are owned by `root_uid`, or by one that is."""
    owned_by: dict[str, list[str]] = defaultdict(list)
    for item in objects:
        for owner in item["metadata"].get("ownerReferences") or []:
            owned_by[owner["uid"]].append(item["metadata"]["uid"])
    found: set[str] = set()
    to_visit = [root_uid]
    while to_visit:
        children = [uid for uid in owned_by[to_visit.pop()] if uid not in found]
        found.update(children)
        to_visit += children
    return found


def build(root: Manifest, objects: list[Manifest]) -> Manifest:
    """The tree as plain data: kind, name, health, words, created, children; pods have their containers."""
    by_owner: dict[str, list[Manifest]] = defaultdict(list)
    for item in objects:
        owners = item["metadata"].get("ownerReferences") or []
        # An object with several owners stands under the one that controls it, so that it is told once.
        owner = next((o for o in owners if o.get("controller")), owners[0] if owners else None)
        if owner:
            by_owner[owner["uid"]].append(item)

    def node(item: Manifest) -> Manifest:
        meta, found = item["metadata"], health(item)
        children = [node(child) for child in sorted(by_owner[meta["uid"]], key=_order)]
        return {
            "kind": item["kind"],
            "apiVersion": item["apiVersion"],
            "name": meta["name"],
            "health": found.mark,
            "words": found.words,
            "created": meta.get("creationTimestamp"),
            "children": [*children, *(_containers(item) if item["kind"] == "Pod" else [])],
        }

    return node(root)


def _containers(pod: Manifest) -> list[Manifest]:
    spec, status = pod.get("spec", {}), pod.get("status") or {}
    nodes = []
    for init, wanted, reported in (
        (True, "initContainers", "initContainerStatuses"),
        (False, "containers", "containerStatuses"),
    ):
        told = {entry["name"]: entry for entry in status.get(reported) or []}
        for name in dict.fromkeys([*(c["name"] for c in spec.get(wanted) or []), *told]):
            found = container_health(told.get(name, {}), init=init)
            started = (told.get(name, {}).get("state") or {}).get("running", {}).get("startedAt")
            nodes.append(
                {
                    "kind": "container",
                    "name": name,
                    "health": found.mark,
                    "words": found.words,
                    "created": started,
                    "children": [],
                }
            )
    return nodes


def _order(item: Manifest) -> tuple[int, int, str, str]:
    """Pods and what makes them first, what is retired last."""
    kind = item["kind"]
    first = _FIRST.index(kind) if kind in _FIRST else len(_FIRST)
    return int(health(item).mark == IDLE), first, kind, item["metadata"]["name"]


def _may_be_child(entry: Served) -> bool:
    plural = entry.kind.plural
    return (
        entry.namespaced
        and {"list", "get"} <= entry.verbs
        and plural not in _NO_CHILDREN
        and entry.kind.group not in _NO_GROUPS
    )
