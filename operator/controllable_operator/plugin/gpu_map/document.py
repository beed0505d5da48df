"""Whose each GPU is, and what each model asked for and got: the document of `-o json`. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from string import ascii_lowercase
from typing import Any

from controllable_operator.desired.common import INSTANCE_LABEL
from controllable_operator.placement.groups import DRIVER, RESOURCE
from controllable_operator.plugin.diagnosis import first_wrong
from controllable_operator.plugin.gpu_map.boards import Board, boards, natural, of_model
from controllable_operator.plugin.marks import OK

Manifest = dict[str, Any]
Pod = tuple[str, str]  # namespace and name
Place = tuple[int, int]  # number of the board, position on it


def build(
    nodes: list[Manifest],
    slices: list[Manifest],
    claims: list[Manifest],
    pods: list[Manifest],
    models: list[Manifest],
) -> Manifest:
    """The document, from what the API server has of all namespaces. Its keys: docs/kubectl-plugin.md."""
    known = boards(nodes, slices, claims)
    places = _by_claims(known, claims)
    _by_plugin(known, pods, places)
    models = sorted(
        (model for model in models if model["spec"].get("gpu", {}).get("count", 0)),
        key=lambda model: (model["metadata"]["namespace"], natural(model["metadata"]["name"])),
    )
    mine = _pods_of(pods)
    rows = [_model(number, model, mine, known, places) for number, model in enumerate(models)]
    tags = {(row["namespace"], replica["pod"]): replica["tag"] for row in rows for replica in row["replicas"]}
    users: dict[Place, list[Pod]] = defaultdict(list)
    for pod, taken in places.items():
        for place in taken:
            users[place].append(pod)
    told = [_node(number, board, users, tags) for number, board in enumerate(known)]
    return {"summary": _summary(told, rows), "nodes": told, "models": rows}


def _by_claims(known: list[Board], claims: Iterable[Manifest]) -> dict[Pod, list[Place]]:
    """Which GPUs each pod has been allocated."""
    where = {
        device: (number, position)
        for number, board in enumerate(known)
        for position, device in enumerate(board.devices)
        if board.claimed
    }
    found: dict[Pod, list[Place]] = defaultdict(list)
    for claim in claims:
        status = claim.get("status") or {}
        results = ((status.get("allocation") or {}).get("devices") or {}).get("results") or []
        devices = [(item["pool"], item["device"]) for item in results if item["driver"] == DRIVER]
        for user in status.get("reservedFor") or []:
            if user.get("resource") == "pods":
                pod = (claim["metadata"]["namespace"], user["name"])
                found[pod] += [where[device] for device in devices if device in where]
    return found


def _by_plugin(known: list[Board], pods: Iterable[Manifest], places: dict[Pod, list[Place]]) -> None:
    """Add the pods of a device plugin, which tells nobody which GPUs they have: the next ones."""
    plugged = {board.node: number for number, board in enumerate(known) if not board.claimed}
    taken: dict[int, int] = defaultdict(int)
    for pod in sorted(pods, key=_name):
        number = plugged.get((pod.get("spec") or {}).get("nodeName", ""))
        if number is not None and (count := _limit(pod)):
            first, room = taken[number], len(known[number].devices)
            places[_name(pod)] = [(number, position) for position in range(first, min(first + count, room))]
            taken[number] += count


def _limit(pod: Manifest) -> int:
    limits = [(item.get("resources") or {}).get("limits") or {} for item in pod["spec"]["containers"]]
    return sum(int(limit.get(RESOURCE, 0)) for limit in limits)


def _pods_of(pods: Iterable[Manifest]) -> dict[tuple[str, str], list[Pod]]:
    """Pods by the namespace and name of their model."""
    found: dict[tuple[str, str], list[Pod]] = defaultdict(list)
    for pod in sorted(pods, key=_name):
        if of_model(pod):
            found[pod["metadata"]["namespace"], pod["metadata"]["labels"][INSTANCE_LABEL]].append(_name(pod))
    return found


def _model(
    number: int,
    model: Manifest,
    pods: Mapping[tuple[str, str], list[Pod]],
    known: list[Board],
    places: Mapping[Pod, list[Place]],
) -> Manifest:
    meta, gpu = model["metadata"], model["spec"]["gpu"]
    mine = pods.get((meta["namespace"], meta["name"]), [])
    having = [pod for pod in mine if places.get(pod)]
    key, wrong = _key(number), first_wrong(model)
    tags = [f"{key}{replica}" for replica in range(1, len(having) + 1)] if len(having) > 1 else [key]
    return {
        "key": key,
        "namespace": meta["namespace"],
        "name": meta["name"],
        "asks": {key: gpu.get(key) for key in ("count", "nvlink", "product", "memory", "architecture")},
        "replicas": [_replica(tag, pod, known, places[pod]) for tag, pod in zip(tags, having, strict=False)],
        "waiting": [pod[1] for pod in mine if pod not in having],
        "health": wrong["health"] if wrong else OK,
        "message": wrong["message"] if wrong else "",
    }


def _replica(tag: str, pod: Pod, known: list[Board], taken: list[Place]) -> Manifest:
    board = known[taken[0][0]]
    positions = [position for _, position in taken]
    return {
        "tag": tag,
        "pod": pod[1],
        "node": board.node,
        "gpus": [board.devices[position][1] for position in positions] if board.claimed else None,
        "count": len(positions),
        "linked": board.linked(positions) if len(positions) > 1 else None,
    }


def _node(number: int, board: Board, users: Mapping[Place, list[Pod]], tags: Mapping[Pod, str]) -> Manifest:
    return {
        "name": board.node,
        "product": board.product,
        "mechanism": "DRA" if board.claimed else "DevicePlugin",
        "frames": [{"kind": frame.kind, "first": frame.first, "gpus": frame.gpus} for frame in board.frames],
        "gpus": [
            _gpu(name, users.get((number, position), []), tags)
            for position, (_, name) in enumerate(board.devices)
        ],
    }


def _gpu(name: str, pods: list[Pod], tags: Mapping[Pod, str]) -> Manifest:
    """tag: that of the replica; None if the GPU is free, "" where another pod has it."""
    tag = next((tags[pod] for pod in pods if pod in tags), "") if pods else None
    return {"name": name or None, "tag": tag, "pods": ["/".join(pod) for pod in pods]}


def _summary(nodes: list[Manifest], models: list[Manifest]) -> Manifest:
    gpus = [gpu for node in nodes for gpu in node["gpus"]]
    return {
        "nodes": len(nodes),
        "gpus": len(gpus),
        "ofModels": sum(1 for gpu in gpus if gpu["tag"]),
        "ofOthers": sum(1 for gpu in gpus if gpu["tag"] == ""),
        "free": sum(1 for gpu in gpus if gpu["tag"] is None),
        "models": len(models),
        "modelsWithGpus": sum(1 for model in models if model["replicas"]),
    }


def _key(number: int) -> str:
    """a to z, then aa and so on."""
    return "".join(reversed(list(_letters(number))))


def _letters(number: int) -> Iterator[str]:
    while number >= 0:
        yield ascii_lowercase[number % 26]
        number = number // 26 - 1


def _name(pod: Manifest) -> Pod:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]
