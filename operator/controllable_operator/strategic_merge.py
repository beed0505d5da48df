"""Strategic merge of a partial pod template over another, as `kubectl patch` does it. Pure."""

from collections.abc import Mapping
from typing import Any

# x-kubernetes-patch-merge-key of a pod template's lists, from the OpenAPI document of Kubernetes 1.34. All
# other lists are replaced as a whole.
_MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
# An exception: one more toleration is what somebody wants who names one, and ours (of GPU nodes) has to stay.
_ADDED = {"tolerations"}
# An item states one source of these; with another one, ours is not to stay beside it.
_ONE_OF = {"env": {"value", "valueFrom"}}
_REPLACED_ITEMS = {"volumes"}

_DIRECTIVE = "$patch"


def merged(base: Any, patch: Any, path: str = "") -> Any:
    """`base` with `patch` over it; neither is changed.

    None deletes a field; an object with `$patch: replace` or `$patch: delete` replaces or deletes its
    counterpart, in a list the item with the same key. `path` says in errors where the patch stands.

    Raises:
        ValueError: `patch` can't be merged over `base`.
    """
    field = path.rpartition(".")[2]
    if field in _MERGE_KEYS or field in _ADDED:
        if not isinstance(patch, list):
            raise ValueError(f"{path}: must be a list")
        if field in _ADDED:
            return [*(base or []), *(item for item in patch if item not in (base or []))]
        return _merged_list(base or [], patch, path, field)
    if isinstance(patch, Mapping):
        return _merged_object(base if isinstance(base, Mapping) else {}, patch, path)
    if isinstance(base, Mapping):
        raise ValueError(f"{path}: must be an object")
    return patch


def _merged_object(base: Mapping[str, Any], patch: Mapping[str, Any], path: str) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in ("merge", "replace"):
        raise ValueError(f"{path}.$patch: {directive!r} is not known; write merge, replace or delete")
    result = dict(base) if directive == "merge" else {}
    for key, value in patch.items():
        if value is None or _deletes(value):
            result.pop(key, None)
        elif key != _DIRECTIVE:
            result[key] = merged(result.get(key), value, f"{path}.{key}")
    return result


def _merged_list(base: list[Any], patch: list[Any], path: str, field: str) -> list[Any]:
    key = _MERGE_KEYS[field]
    result = {item[key]: item for item in base}
    for index, item in enumerate(patch):
        where = f"{path}[{index}]"
        if not isinstance(item, Mapping) or not isinstance(item.get(key), str | int):
            raise ValueError(f"{where}: needs a {key}")
        name = item[key]
        if _deletes(item):
            result.pop(name, None)
            continue
        sources = _ONE_OF.get(field, set())
        before = {} if field in _REPLACED_ITEMS else result.get(name, {})
        if sources & item.keys():
            before = {k: v for k, v in before.items() if k not in sources}
        result[name] = _merged_object(before, item, where)
    return list(result.values())


def _deletes(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get(_DIRECTIVE) == "delete"
