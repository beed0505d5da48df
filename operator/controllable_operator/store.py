"""What the watches have told about models, children and pods: the cache that `reconcile` reads.

Events, lists and the answers to our own writes arrive in any order, from several threads. The resource
version decides: what is older than what is known, or than a deletion that is known, is ignored. So a
reconciliation always sees its own writes, and a late event never brings back what is gone.
"""

import threading
from collections import Counter
from typing import Any

from controllable_operator.api import GROUP, KIND
from controllable_operator.desired.common import INSTANCE_LABEL
from controllable_operator.kinds import GPU_KINDS, MODEL, NODE, POD, Kind

Manifest = dict[str, Any]
Key = tuple[str, str]  # namespace, name

# Half of an object's size, and read by nobody: who set which field, and what kubectl applied last.
_UNREAD_METADATA = {"managedFields", "selfLink"}
_UNREAD_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
# The parts of a pod's spec that its status does not tell. The rest is as its Deployment says.
_READ_OF_POD_SPEC = {"nodeName", "schedulingGates"}
# Deletions that are remembered. An event that comes later than this many deletions is not to be expected.
_GONE_LIMIT = 10_000


class Store:
    """Objects by kind and name, and by the model that they belong to.

    What it hands out is shared: read it, never change it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Kind, dict[Key, Manifest]] = {}
        self._owned: dict[Key, set[tuple[Kind, Key]]] = {}
        self._gone: dict[tuple[Kind, Key], int] = {}
        self._changes: Counter[Kind] = Counter()

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object, None where none is known."""
        with self._lock:
            return self._objects.get(kind, {}).get((namespace, name))

    def all(self, kind: Kind) -> list[Manifest]:
        """All objects of a kind."""
        with self._lock:
            return list(self._objects.get(kind, {}).values())

    def owned(self, kind: Kind, namespace: str, model: str) -> list[Manifest]:
        """The objects of a kind that belong to a model, by name."""
        with self._lock:
            keys = [key for of, key in self._owned.get((namespace, model), ()) if of == kind]
            return [self._objects[kind][key] for key in sorted(keys)]

    def changes(self, kind: Kind) -> int:
        """How often objects of a kind came, went, or told something else than before."""
        with self._lock:
            return self._changes[kind]

    def put(self, kind: Kind, manifest: Manifest) -> set[Key]:
        """Take in an object as it is. Returns the models that this is news to."""
        with self._lock:
            return self._put(kind, manifest)

    def remove(self, kind: Kind, manifest: Manifest) -> set[Key]:
        """Take in that an object is gone, as of its version. Returns the models that this is news to."""
        with self._lock:
            return self._remove(kind, _key(manifest), _version(manifest))

    def replace(self, kind: Kind, manifests: list[Manifest], version: str) -> set[Key]:
        """Take in a list of all objects of a kind, as of `version`: what is not in it is gone.

        Returns the models that this is news to.
        """
        with self._lock:
            news = set().union(*(self._put(kind, manifest) for manifest in manifests))
            listed = {_key(manifest) for manifest in manifests}
            for key in self._objects.get(kind, {}).keys() - listed:
                news |= self._remove(kind, key, int(version))
            return news

    def forget(self, kind: Kind) -> set[Key]:
        """Take in that a kind is not served. It may be again, with the same objects: no deletion is known.

        Returns the models that this is news to.
        """
        with self._lock:
            objects = self._objects.pop(kind, {})
            self._changes[kind] += len(objects)
            for key, manifest in objects.items():
                self._index(kind, key, manifest, None)
            return {owner for manifest in objects.values() if (owner := _owner(kind, manifest))}

    def _put(self, kind: Kind, manifest: Manifest) -> set[Key]:
        key, version = _key(manifest), _version(manifest)
        before = self._objects.setdefault(kind, {}).get(key)
        known = _version(before) if before else -1
        if version <= max(known, self._gone.get((kind, key), -1)):
            return set()
        after = stripped(kind, manifest)
        self._objects[kind][key] = after
        owners = {owner for owner in (_owner(kind, before), _owner(kind, after)) if owner}
        if before is None or _owner(kind, before) != _owner(kind, after):
            self._index(kind, key, before, after)
        elif _says_the_same(before, after):
            return set()
        self._changes[kind] += 1
        return owners

    def _remove(self, kind: Kind, key: Key, version: int) -> set[Key]:
        before = self._objects.get(kind, {}).get(key)
        if before is not None and _version(before) > version:
            return set()
        self._gone.pop((kind, key), None)
        self._gone[kind, key] = version
        if len(self._gone) > _GONE_LIMIT:
            del self._gone[next(iter(self._gone))]
        if before is None:
            return set()
        del self._objects[kind][key]
        self._changes[kind] += 1
        self._index(kind, key, before, None)
        owner = _owner(kind, before)
        return {owner} if owner else set()

    def _index(self, kind: Kind, key: Key, before: Manifest | None, after: Manifest | None) -> None:
        if old := _owner(kind, before):
            self._owned[old].discard((kind, key))
            if not self._owned[old]:
                del self._owned[old]
        if new := _owner(kind, after):
            self._owned.setdefault(new, set()).add((kind, key))


def owner_name(metadata: dict[str, Any]) -> str | None:
    """Name of the model that a child belongs to: by its owner, or else by its label, as pods have others."""
    for owner in metadata.get("ownerReferences", []):
        if owner.get("kind") == KIND and owner.get("apiVersion", "").startswith(f"{GROUP}/"):
            return str(owner["name"])
    name = metadata.get("labels", {}).get(INSTANCE_LABEL)
    return str(name) if name else None


def _owner(kind: Kind, manifest: Manifest | None) -> Key | None:
    if manifest is None or kind in GPU_KINDS:
        return None
    metadata = manifest["metadata"]
    name = metadata["name"] if kind == MODEL else owner_name(metadata)
    return (metadata["namespace"], name) if name else None


def _key(manifest: Manifest) -> Key:
    # what the cluster has once, such as a node, has no namespace
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def _version(manifest: Manifest) -> int:
    # Kubernetes promises since 1.35 that versions of one kind compare as numbers; etcd's always did.
    return int(manifest["metadata"]["resourceVersion"])


def stripped(kind: Kind, manifest: Manifest) -> Manifest:
    """What is kept of an object of this kind."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _UNREAD_METADATA}
    if _UNREAD_ANNOTATION in metadata.get("annotations", {}):
        metadata["annotations"] = dict(metadata["annotations"])
        del metadata["annotations"][_UNREAD_ANNOTATION]
    result = manifest | {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
    if kind == POD and "spec" in manifest:
        result["spec"] = {key: value for key, value in manifest["spec"].items() if key in _READ_OF_POD_SPEC}
    if kind == NODE:
        # The kubelet tells every few minutes how it is, at length.
        labels = {name: value for name, value in metadata.get("labels", {}).items() if "gpu" in name}
        kept = {key: metadata[key] for key in ("name", "uid", "resourceVersion") if key in metadata}
        result["metadata"], result["spec"] = kept | {"labels": labels}, {}
        offered = manifest.get("status", {}).get("allocatable", {})
        result["status"] = {"allocatable": {name: offered[name] for name in offered if "gpu" in name}}
    return result


def _says_the_same(one: Manifest, other: Manifest) -> bool:
    return _unversioned(one) == _unversioned(other)


def _unversioned(manifest: Manifest) -> Manifest:
    return manifest | {"metadata": manifest["metadata"] | {"resourceVersion": ""}}
