"""Does a live object still state everything that we want it to? The pure half of applying.

A live object has more than our manifest: defaults that the API server filled in, and fields of others (a
sidecar injector, a person with kubectl). Those are left alone. So the live object has to *contain* the
manifest; what we stated once and no longer do is found by the hash of the manifest that was applied last.
"""

from typing import Any

from kubernetes.utils.quantity import parse_quantity

from controllable_operator.desired.common import content_hash

Manifest = dict[str, Any]
Path = tuple[str, ...]  # of keys; an item of a merged list by what tells it apart: ("ports", "port=80")

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
_NOT_KEPT_EMPTY = {*_QUANTITIES, "matchLabels", "nodeSelector", "labels"}
# The same for false, 0 and "": fields of a pod that Kubernetes' types have without a pointer. (Where there is
# one, as in automountServiceAccountToken, false is something else than absent.)
_NOT_KEPT_ZERO = {
    *("containerName", "dnsPolicy", "effect", "failureThreshold", "fsType", "host", "hostIP", "hostIPC"),
    *("hostNetwork", "hostPID", "hostPort", "hostname", "imagePullPolicy", "initialDelaySeconds", "key"),
    *("level", "medium", "nodeName", "operator", "partition", "periodSeconds", "prefix", "priorityClassName"),
    *("protocol", "readOnly", "role", "scheme", "schedulerName", "secretName", "serviceAccount"),
    *("serviceAccountName", "stdin", "stdinOnce", "subPath", "subPathExpr", "subdomain", "successThreshold"),
    *("terminationMessagePath", "terminationMessagePolicy", "timeoutSeconds", "tty", "type", "user", "value"),
    *("volumeName", "workingDir"),
}


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with its own hash in an annotation."""
    meta = manifest["metadata"]
    annotations = meta.get("annotations", {}) | {APPLIED_HASH: content_hash(manifest)}
    return manifest | {"metadata": meta | {"annotations": annotations}}


def difference(wanted: Manifest, live: Manifest) -> Path | None:
    """Where the stamped manifest `wanted` is not what is there, None where it is.

    Something is if it changed since it was applied last, or if somebody took away or changed what it states.
    """
    return _missing(live, _kept(wanted), wanted["kind"])


def _kept(value: Any) -> Any:
    """`value` as the API server keeps it: without what it takes for absent."""
    if isinstance(value, dict):
        return {k: _kept(v) for k, v in value.items() if not _taken_for_absent(k, v)}
    return [_kept(item) for item in value] if isinstance(value, list) else value


def _taken_for_absent(key: str, value: Any) -> bool:
    if isinstance(value, dict | list):
        return not value and (isinstance(value, list) or key in _NOT_KEPT_EMPTY)
    return not value and key in _NOT_KEPT_ZERO


def _missing(live: Any, wanted: Any, kind: str, field: str = "") -> Path | None:
    """The path to the first part of `wanted` that `live` does not contain."""
    if (kind, field) in _ATOMIC:
        return None if live == wanted else ()
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return ()
        for key, value in wanted.items():
            inside = field if field in _QUANTITIES else key
            path = _missing(live[key], value, kind, inside) if key in live else ()
            if path is not None:
                return (key, *path)
        return None
    if isinstance(wanted, list):
        return _missing_item(live, wanted, kind, field) if isinstance(live, list) else ()
    same = _same_quantity(live, wanted) if field in _QUANTITIES else live == wanted
    return None if same else ()


def _missing_item(live: list[Any], wanted: list[Any], kind: str, field: str) -> Path | None:
    key = _MERGED_LISTS.get(kind, _MERGED_IN_ALL).get(field)
    if key is None:
        same = len(live) == len(wanted) and all(
            _missing(a, b, kind) is None for a, b in zip(live, wanted, strict=True)
        )
        return None if same else ()
    by_key = {item.get(key): item for item in live}
    for item in wanted:
        path = _missing(by_key[item[key]], item, kind) if item[key] in by_key else ()
        if path is not None:
            return (f"{key}={item[key]}", *path)
    return None


def _same_quantity(live: Any, wanted: Any) -> bool:
    # The API server writes quantities its own way: 1024Mi comes back as 1Gi.
    try:
        return bool(parse_quantity(live) == parse_quantity(wanted))
    except ValueError:
        return bool(live == wanted)
