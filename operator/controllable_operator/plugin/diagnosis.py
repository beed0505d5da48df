"""Why a model is not as asked for, and what to do about it. Pure."""

from typing import Any, NamedTuple

from controllable_operator.plugin.advice import advice, condition_health
from controllable_operator.plugin.health import container_health
from controllable_operator.plugin.marks import BAD, BUSY, IDLE, OK

Manifest = dict[str, Any]

_IMAGE_OR_CONFIG = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"}
RANK = {BAD: 0, BUSY: 1, OK: 2, IDLE: 2}


class FailedContainer(NamedTuple):
    """A container whose log tells more. previous: the log is that of the run before."""

    pod: str
    container: str
    previous: bool


def conditions(model: Manifest) -> list[Manifest]:
    """The model's conditions, each with its health and what to do."""
    meta = model["metadata"]
    found = []
    for entry in (model.get("status") or {}).get("conditions") or []:
        told = advice(entry["type"], entry["reason"], meta["namespace"], meta["name"])
        found.append(
            {
                key: entry.get(key)
                for key in ("type", "status", "reason", "message", "lastTransitionTime", "observedGeneration")
            }
            | {"health": condition_health(entry), "advice": told.text if told else ""}
        )
    return found


def findings(model: Manifest) -> list[Manifest]:
    """What keeps the model from being as asked for, the worst first, each said once."""
    meta, status = model["metadata"], model.get("status") or {}
    found = [entry for entry in conditions(model) if RANK[entry["health"]] < RANK[OK]]
    # Ready speaks first; ModelLoaded and Stalled often say the same in other words.
    found.sort(key=lambda entry: (RANK[entry["health"]], entry["type"] != "Ready"))
    told: list[Manifest] = []
    for entry in found:
        if not any(entry["message"] == other["message"] for other in told):
            told.append({key: entry[key] for key in ("type", "reason", "health", "message", "advice")})
    if meta.get("generation", 0) > (status.get("observedGeneration") or 0):
        told.insert(0, _not_reconciled(model))
    return told


def first_wrong(model: Manifest) -> Manifest | None:
    """The one thing to tell in a line."""
    return next(iter(findings(model)), None)


def failed_container(pods: list[Manifest]) -> FailedContainer | None:
    """The container whose log is worth reading: one that ended badly, or does so again and again."""
    for pod in pods:
        status = pod.get("status") or {}
        for init, key in ((True, "initContainerStatuses"), (False, "containerStatuses")):
            for entry in status.get(key) or []:
                if (previous := _ended_badly(entry, init)) is not None:
                    return FailedContainer(pod["metadata"]["name"], entry["name"], previous)
    return None


def _ended_badly(entry: Manifest, init: bool) -> bool | None:
    """Whether the log is that of the run before; None where there is nothing to read."""
    state = entry.get("state") or {}
    waiting = (state.get("waiting") or {}).get("reason")
    if waiting in _IMAGE_OR_CONFIG or container_health(entry, init=init).mark != BAD:
        crashed = (entry.get("lastState") or {}).get("terminated", {}).get("exitCode", 0) != 0
        running = "running" in state and not entry.get("ready") and not init
        return True if crashed and running else None
    # While kubelet waits to start it again, the container that ended is still the current one.
    return False


def _not_reconciled(model: Manifest) -> Manifest:
    meta = model["metadata"]
    told = advice("Ready", "NotReconciled", meta["namespace"], meta["name"])
    seen = (model.get("status") or {}).get("observedGeneration")
    message = (
        f"the operator has dealt with generation {seen}, the newest is {meta.get('generation')}"
        if seen
        else "the operator has said nothing about it yet"
    )
    return {
        "type": "Ready",
        "reason": "NotReconciled",
        "health": BUSY,
        "message": message,
        "advice": told.text if told else "",
    }
