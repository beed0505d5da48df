"""Does a live object still state everything that we want it to? The pure half of applying.

A live object has more than our manifest: defaults that the API server filled in, and fields of others (a
sidecar injector, a person with kubectl). Those are left alone. So the live object has to *contain* the
manifest; what we stated once and no longer do is found by the hash of the manifest that was applied last.
"""

from typing import Any

from kubernetes.utils.quantity import parse_quantity

from controllable_operator.desired.common import content_hash

Manifest = dict[str, Any]

APPLIED_HASH = "serving.controllable.dev/applied-hash"

# Lists that server-side apply merges item by item, and the field that tells items apart. All others are
# replaced as a whole.
_BY_NAME = {"containers": "name", "initContainers": "name", "volumes": "name", "env": "name"}
_MERGED_LISTS = {
    "Deployment": {
        **_BY_NAME,
        "volumeMounts": "mountPath",
        "ports": "containerPort",
        "ownerReferences": "uid",
    },
    "Service": {"ports": "port", "ownerReferences": "uid"},
}
_MERGED_IN_ALL = {"ownerReferences": "uid"}
# Parts that server-side apply replaces as a whole, and where something added by others changes what we mean:
# one more label in a selector, one more peer in a policy.
_ATOMIC = {("Service", "selector"), ("NetworkPolicy", "podSelector"), ("NetworkPolicy", "ingress")}
_QUANTITIES = {"limits", "requests", "sizeLimit"}
# What people may state as empty, and the API server then doesn't keep.
_NOT_KEPT_EMPTY = {*_QUANTITIES, "matchLabels", "matchExpressions", "values", "except"}


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with its own hash in an annotation."""
    meta = manifest["metadata"]
    annotations = meta.get("annotations", {}) | {APPLIED_HASH: content_hash(manifest)}
    return manifest | {"metadata": meta | {"annotations": annotations}}


def needs_write(wanted: Manifest, live: Manifest) -> bool:
    """Whether the stamped manifest `wanted` has to be applied, given what is there.

    True if it changed since it was applied last, or if somebody took away or changed what it states.
    """
    return not _contains(live, _kept(wanted), wanted["kind"])


def _kept(value: Any) -> Any:
    """`value` as the API server keeps it: without what it takes for absent."""
    if isinstance(value, dict):
        return {k: _kept(v) for k, v in value.items() if not (k in _NOT_KEPT_EMPTY and v in ({}, []))}
    return [_kept(item) for item in value] if isinstance(value, list) else value


def _contains(live: Any, wanted: Any, kind: str, field: str = "") -> bool:
    if (kind, field) in _ATOMIC:
        return bool(live == wanted)
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            key in live and _contains(live[key], value, kind, field if field in _QUANTITIES else key)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _contains_list(live, wanted, kind, field)
    if field in _QUANTITIES:
        return _same_quantity(live, wanted)
    return bool(live == wanted)


def _contains_list(live: list[Any], wanted: list[Any], kind: str, field: str) -> bool:
    key = _MERGED_LISTS.get(kind, _MERGED_IN_ALL).get(field)
    if key is None:
        return len(live) == len(wanted) and all(
            _contains(a, b, kind) for a, b in zip(live, wanted, strict=True)
        )
    by_key = {item.get(key): item for item in live}
    return all(item[key] in by_key and _contains(by_key[item[key]], item, kind) for item in wanted)


def _same_quantity(live: Any, wanted: Any) -> bool:
    # The API server writes quantities its own way: 1024Mi comes back as 1Gi.
    try:
        return bool(parse_quantity(live) == parse_quantity(wanted))
    except ValueError:
        return bool(live == wanted)
