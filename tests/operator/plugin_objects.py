"""A model, what it owns, and a connection that answers from them: as an API server would have them."""

import json
from collections.abc import Iterable
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.kinds import MODEL
from controllable_operator.plugin.errors import NotAllowed, NotFound
from controllable_operator.settings import Settings

Manifest = dict[str, Any]

CREATED = "2026-01-01T11:00:00Z"


def condition(kind: str, status: str, reason: str, message: str = "") -> Manifest:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": CREATED,
    }


def model_manifest(
    name: str = "nano", *conditions: Manifest, namespace: str = "test", **status: Any
) -> Manifest:
    """A model as the API server has it, with these conditions and this status."""
    told = {"conditions": list(conditions)} if conditions else {}
    observed = {"observedGeneration": 1} if conditions else {}
    return {
        "apiVersion": MODEL.api_version,
        "kind": MODEL.name,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-of-{name}",
            "generation": 1,
            "creationTimestamp": CREATED,
        },
        "spec": {"model": {"uri": "image:///models/nano"}, "replicas": 1},
        "status": observed | status | told,
    }


def children(model: Manifest) -> list[Manifest]:
    """What the operator makes for a model, with what the API server adds."""
    parsed = ControllableModel.parse(model | {"status": {}})
    made = desired(parsed, Settings(runtime_image="runtime:1"), Cluster())
    return [as_stored(manifest) for manifest in made]


def as_stored(manifest: Manifest, **status: Any) -> Manifest:
    meta = manifest["metadata"]
    uid = f"uid-of-{manifest['kind']}-{meta['name']}"
    return manifest | {
        "metadata": meta | {"uid": uid, "creationTimestamp": CREATED},
        "status": manifest.get("status", {}) | status,
    }


def owned(owner: Manifest, manifest: Manifest, **status: Any) -> Manifest:
    """`manifest`, with `owner` as its controller."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    meta = (
        {"namespace": owner["metadata"]["namespace"]}
        | manifest["metadata"]
        | {"ownerReferences": [reference]}
    )
    return as_stored(manifest | {"metadata": meta}, **status)


def replica_set(deployment: Manifest, name: str, replicas: int = 1, ready: int = 0) -> Manifest:
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name},
        "spec": {"replicas": replicas},
    }
    return owned(deployment, manifest, replicas=replicas, readyReplicas=ready)


def event(
    about: Manifest, reason: str, message: str, last: str, count: int = 1, kind: str = "Normal"
) -> Manifest:
    meta = about["metadata"]
    return {
        "metadata": {"name": f"{meta['name']}.{reason}", "creationTimestamp": last},
        "involvedObject": {"kind": about["kind"], "name": meta["name"], "uid": meta["uid"]},
        "type": kind,
        "reason": reason,
        "message": message,
        "count": count,
        "firstTimestamp": last,
        "lastTimestamp": last,
    }


_PLURALS = {"NetworkPolicy": "networkpolicies", "ControllableModel": MODEL.plural}


def plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind.lower()}s")


class FakeConnection:
    """Answers `get`, `list` and `text` like a Connection, from a list of objects.

    forbidden: plurals that may not be listed.
    """

    namespace = "test"

    def __init__(
        self,
        objects: Iterable[Manifest],
        forbidden: Iterable[str] = (),
        log: str = "",
        events: Iterable[Manifest] = (),
    ) -> None:
        self.objects, self.forbidden, self.log = list(objects), set(forbidden), log
        self.events = list(events)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def get(self, path: str, accept: str = "", **query: str) -> Manifest:
        self.asked.append((path, query))
        if path in ("/api", "/apis"):
            return self._discovery(core=path == "/api")
        *_, namespace, kind, name = path.split("/")
        for item in self.objects:
            meta = item["metadata"]
            if (meta["namespace"], plural(item["kind"]), meta["name"]) == (namespace, kind, name):
                return dict(item)
        raise NotFound(f"{kind} {name} not found")

    def list(self, path: str, accept: str = "", **query: str) -> list[Manifest]:
        self.asked.append((path, query))
        kind = path.rpartition("/")[2]
        if kind in self.forbidden:
            raise NotAllowed(f"you may not list {kind}")
        if kind == "events":
            return self.events
        found = [item for item in self.objects if plural(item["kind"]) == kind]
        namespace = path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else None
        return [i for i in found if namespace in (None, i["metadata"]["namespace"])]

    def text(self, path: str, **query: str) -> str:
        self.asked.append((path, query))
        return self.log

    def _discovery(self, core: bool) -> Manifest:
        kinds = {(item["apiVersion"], item["kind"]) for item in self.objects} | {
            ("v1", "Event"),
            ("v1", "Secret"),
        }
        groups: dict[str, list[Manifest]] = {}
        for api_version, kind in sorted(kinds):
            group, _, version = api_version.rpartition("/")
            if (group == "") == core:
                groups.setdefault(group, []).append(
                    {"version": version, "resources": [resource(plural(kind), kind)]}
                )
        return json.loads(
            json.dumps({"items": [{"metadata": {"name": n}, "versions": v} for n, v in groups.items()]})
        )


def resource(name: str, kind: str, *verbs: str) -> Manifest:
    return {
        "resource": name,
        "responseKind": {"kind": kind},
        "scope": "Namespaced",
        "verbs": list(verbs) or ["get", "list", "watch"],
    }
