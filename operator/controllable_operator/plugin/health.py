"""How an object is, at a glance: a mark and a few words. Pure."""

from typing import Any, NamedTuple

from controllable_operator.conditions import condition
from controllable_operator.plugin.advice import condition_health
from controllable_operator.plugin.marks import BAD, BUSY, IDLE, OK

Manifest = dict[str, Any]

# Conditions that are bad when False, and those that are bad when True, whatever the kind.
_GOOD = ("Ready", "Available", "Accepted", "Programmed", "Established", "Healthy", "ScalingActive")
_WRONG = ("Stalled", "Failed", "ReplicaFailure", "Degraded")


class Health(NamedTuple):
    """mark: ok, busy (on the way), bad or idle (nothing to do); words: for people, may be empty."""

    mark: str
    words: str = ""


def health(manifest: Manifest) -> Health:
    """The health of an object of any kind; what is known of none of them is told by its conditions."""
    if "deletionTimestamp" in manifest.get("metadata", {}):
        return Health(BUSY, "being deleted")
    special = _BY_KIND.get(manifest.get("kind", ""))
    return special(manifest) if special else _by_conditions(manifest)


def container_health(status: Manifest, init: bool = False) -> Health:
    """The health of a container, from its entry in the pod's containerStatuses."""
    state, restarts = status.get("state") or {}, status.get("restartCount", 0)
    again = f", {_times(restarts, 'restart')}" if restarts else ""
    if waiting := state.get("waiting"):
        reason = waiting.get("reason", "waiting")
        return Health(BUSY if reason in {"PodInitializing", "ContainerCreating"} else BAD, f"{reason}{again}")
    if ended := state.get("terminated"):
        if ended.get("exitCode") == 0:
            return Health(OK if init else IDLE, f"done{again}")
        return Health(BAD, f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode')}{again}")
    if "running" not in state:
        return Health(BUSY, "not started")
    if init or status.get("ready"):
        return Health(BUSY if init and not status.get("ready") else OK, f"running{again}")
    return Health(BUSY, f"running, not ready{again}")


def _pod(manifest: Manifest) -> Health:
    status = manifest.get("status") or {}
    phase = status.get("phase", "Unknown")
    if phase == "Succeeded":
        return Health(IDLE, "done")
    if phase == "Failed":
        return Health(BAD, f"failed: {status.get('reason') or status.get('message') or 'see its log'}")
    if condition(manifest, "Ready").get("status") == "True":
        return Health(OK, "ready")
    scheduled = condition(manifest, "PodScheduled")
    if scheduled.get("reason") == "SchedulingGated":
        return Health(BUSY, "waits for its scheduling gates")
    if scheduled.get("status") == "False":
        return Health(BAD, f"no node takes it: {scheduled.get('message', '')}".rstrip(": "))
    containers = [
        container_health(entry, init=init)
        for init, key in ((True, "initContainerStatuses"), (False, "containerStatuses"))
        for entry in status.get(key) or []
    ]
    worst = next((found for found in containers if found.mark == BAD), None)
    return worst or Health(BUSY, "not ready")


def _workload(manifest: Manifest) -> Health:
    status = manifest.get("status") or {}
    wanted = manifest.get("spec", {}).get("replicas", 1)
    ready = status.get("readyReplicas", 0)
    words = f"{ready}/{wanted} ready"
    if condition(manifest, "ReplicaFailure").get("status") == "True":
        return Health(BAD, f"{words}; {condition(manifest, 'ReplicaFailure').get('message', '')}")
    if condition(manifest, "Progressing").get("status") == "False":
        return Health(BAD, f"{words}; {condition(manifest, 'Progressing').get('message', '')}")
    if wanted == 0:
        return Health(BUSY if ready else IDLE, words if ready else "no pods wanted")
    updated = status.get("updatedReplicas", wanted)
    if updated < wanted:
        return Health(BUSY, f"{words}, {updated} of the newest template")
    return Health(OK if ready >= wanted else BUSY, words)


def _claim(manifest: Manifest) -> Health:
    phase = (manifest.get("status") or {}).get("phase", "Pending")
    return Health({"Bound": OK, "Lost": BAD}.get(phase, BUSY), phase.lower())


def _device_claim(manifest: Manifest) -> Health:
    allocation = (manifest.get("status") or {}).get("allocation")
    if not allocation:
        return Health(BUSY, "no devices yet")
    pools: dict[str, list[str]] = {}
    for result in allocation.get("devices", {}).get("results") or []:
        pools.setdefault(result["pool"], []).append(result["device"])
    return Health(OK, "; ".join(f"{', '.join(found)} of {pool}" for pool, found in pools.items()))


def _budget(manifest: Manifest) -> Health:
    status = manifest.get("status") or {}
    return Health(OK, f"{status.get('disruptionsAllowed', 0)} may be evicted now")


def _autoscaler(manifest: Manifest) -> Health:
    spec, status = manifest.get("spec", {}), manifest.get("status") or {}
    bounds = f"{spec.get('minReplicas', 1)} to {spec.get('maxReplicas')}"
    words = f"wants {status.get('desiredReplicas', 0)} of {bounds}"
    active = condition(manifest, "ScalingActive")
    if active.get("status") == "False":
        zero = active.get("reason") == "ScalingDisabled"
        return Health(IDLE if zero else BAD, f"{words}; {active.get('message', '')}")
    return Health(OK if active else BUSY, words)


def _job(manifest: Manifest) -> Health:
    if condition(manifest, "Failed").get("status") == "True":
        return Health(BAD, condition(manifest, "Failed").get("message", "failed"))
    done = condition(manifest, "Complete").get("status") == "True"
    return Health(IDLE if done else BUSY, "done" if done else "runs")


def _model(manifest: Manifest) -> Health:
    ready, stalled = condition(manifest, "Ready"), condition(manifest, "Stalled")
    if not ready:
        return Health(BUSY, "nothing is known yet")
    worst = BAD if stalled.get("status") == "True" else condition_health(ready)
    return Health(worst, ready.get("reason", ""))


def _by_conditions(manifest: Manifest) -> Health:
    for kind in _WRONG:
        found = condition(manifest, kind)
        if found.get("status") == "True":
            return Health(BAD, found.get("message") or kind)
    for kind in _GOOD:
        found = condition(manifest, kind)
        if found.get("status") in {"False", "Unknown"}:
            mark = BAD if found["status"] == "False" else BUSY
            return Health(mark, found.get("message") or f"not {kind}")
    return Health(OK)


def _times(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_BY_KIND = {
    "ControllableModel": _model,
    "Deployment": _workload,
    "ReplicaSet": _workload,
    "StatefulSet": _workload,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "ResourceClaim": _device_claim,
    "PodDisruptionBudget": _budget,
    "HorizontalPodAutoscaler": _autoscaler,
    "Job": _job,
}
