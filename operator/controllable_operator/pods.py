"""What a pod says about itself: how far it got, and what is wrong with it. Pure."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from controllable_operator.api import ModelStatus
from controllable_operator.conditions import condition
from controllable_operator.desired.deployment import template_hash
from controllable_operator.desired.pod import TRITON
from controllable_operator.desired.weights import FETCH, fetches_weights

_IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
}
# Reasons for Ready, the worst first: this is what gets told.
_SEVERITY = [
    "ModelNotFound",
    "ModelFetchFailed",
    "ModelLoadFailed",
    "ImagePullFailed",
    "InsufficientCapacity",
    "PodsNotReady",
]
_START_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?")
_MESSAGE_LENGTH = 1024


class Stage(Enum):
    """How far a pod got."""

    GATED = "waits for its scheduling gates to be lifted, as by the admission to a queue"
    PENDING = "waits for a node"
    FETCHING = "fetches the weights"
    LOADING = "loads the model"
    READY = "answers"
    SILENT = "answered, and does so no more"


@dataclass(frozen=True)
class Problem:
    """Why a pod doesn't get on.

    ready, loaded: reasons for the conditions Ready and ModelLoaded. attempts: how often it was tried. noise:
    the end of the message, whose numbers are no news.
    """

    ready: str
    loaded: str
    message: str
    attempts: int = 1
    noise: str = ""


@dataclass(frozen=True)
class PodReport:
    """One pod, as far as the model's status is concerned."""

    template_hash: str
    stage: Stage
    problem: Problem | None
    fetched: ModelStatus | None = None


def counts(pod: dict[str, Any]) -> bool:
    """Whether the pod is a replica: neither finished nor about to go."""
    finished = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    return not finished and "deletionTimestamp" not in pod["metadata"]


def reports(pods: list[dict[str, Any]]) -> list[PodReport]:
    """Reports of the pods that count, and are ours."""
    return [
        PodReport(hash_, _stage(pod), _problem(pod), _fetched(pod))
        for pod in pods
        if counts(pod) and (hash_ := template_hash(pod))
    ]


def _stage(pod: dict[str, Any]) -> Stage:
    statuses = _container_statuses(pod)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "True":
        return Stage.GATED if scheduled.get("reason") == "SchedulingGated" else Stage.PENDING
    if condition(pod, "Ready").get("status") == "True":
        return Stage.READY
    if not all(_ended_well(statuses.get(name, {})) for name in {FETCH, *filter(fetches_weights, statuses)}):
        return Stage.FETCHING
    return Stage.SILENT if _was_ready(pod, statuses.get(TRITON, {})) else Stage.LOADING


def _ended_well(status: dict[str, Any]) -> bool:
    return status.get("state", {}).get("terminated", {}).get("exitCode") == 0


def _fetched(pod: dict[str, Any]) -> ModelStatus | None:
    """What fetch said it brought, None where it has not ended well or only made a link."""
    ended = _container_statuses(pod).get(FETCH, {}).get("state", {}).get("terminated", {})
    try:
        said = json.loads(ended.get("message") or "")
        return (
            ModelStatus.model_validate({"digest": said["digest"], "bytes": said["size"]})
            if ended["exitCode"] == 0
            else None
        )
    except (ValueError, KeyError, TypeError):
        return None


def _was_ready(pod: dict[str, Any], triton: dict[str, Any]) -> bool:
    """True if the pod was ready since its engine started: Ready became False after the start."""
    started = triton.get("state", {}).get("running", {}).get("startedAt")
    changed = condition(pod, "Ready").get("lastTransitionTime")
    return bool(started and changed and _time(changed) > _time(started))


def worst(problems: Iterable[Problem]) -> Problem | None:
    """The problem to tell, the first of equally bad ones; None if there is none."""
    return min(problems, key=lambda problem: _SEVERITY.index(problem.ready), default=None)


def _problem(pod: dict[str, Any]) -> Problem | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        message = scheduled.get("message", "no node has room")
        # The scheduler looks again whenever anything moves, and counts the nodes by what is in the way.
        return Problem("InsufficientCapacity", "InsufficientCapacity", message, noise=message)
    if condition(pod, "Ready").get("status") == "True":
        return None
    return worst(_container_problems(pod))


def _container_problems(pod: dict[str, Any]) -> Iterator[Problem]:
    # The engine first: where others are down too, it is what the model waits for.
    for name, status in sorted(_container_statuses(pod).items(), key=lambda item: item[0] != TRITON):
        state = status.get("state", {})
        waiting = state.get("waiting", {})
        if waiting.get("reason") in _IMAGE_REASONS:
            yield Problem("ImagePullFailed", "ImagePullFailed", _pull_message(status, waiting))
        elif waiting.get("reason") in _START_REASONS:
            # fetch can only lack its Secret, or a key of it
            ready = "ModelNotFound" if fetches_weights(name) else "PodsNotReady"
            yield Problem(ready, "LoadFailed", f"container {name}: {waiting.get('message', '')}")
        elif ended := _end(pod, name, status):
            tried = status.get("restartCount", 0) + (0 if "running" in state else 1)
            yield _failure(name, ended, tried)


def _end(pod: dict[str, Any], name: str, status: dict[str, Any]) -> dict[str, Any] | None:
    """How the container ended, if that can be why the pod isn't ready."""
    state = status.get("state", {})
    ended: dict[str, Any] | None = state.get("terminated") or status.get("lastState", {}).get("terminated")
    if ended is None or (fetches_weights(name) and ended["exitCode"] == 0):
        return None
    if "running" not in state or fetches_weights(name):
        return ended
    # What a container that is up again died of before is past. Only an engine that said why it could not
    # load will most likely say so again; telling it meanwhile keeps the status steady.
    said_why = name == TRITON and _own_words(ended.get("message"))[0] and not _was_ready(pod, status)
    return ended if said_why else None


def _failure(name: str, ended: dict[str, Any], attempts: int) -> Problem:
    """The problem behind a container's end, in the container's own words where it left some."""
    text = (ended.get("message") or "").strip()
    reason, message = _own_words(text)
    if reason:
        ready = reason if reason in {"ModelNotFound", "ModelFetchFailed"} else "ModelLoadFailed"
        return Problem(ready, "LoadFailed", message, attempts)
    if ended.get("reason") == "OOMKilled":
        message = f"container {name} was killed because it ran out of memory"
        if name == TRITON:
            message += ": raise spec.serving.resources.limits.memory, or take a smaller precision"
    else:
        message = f"container {name} exited with code {ended['exitCode']}"
        message += f": {_tail(text)}" if text else ""
    if fetches_weights(name):
        return Problem("ModelFetchFailed", "LoadFailed", message, attempts)
    loaded = "EngineDead" if name == TRITON else "PodsNotReady"
    return Problem("PodsNotReady", loaded, message, attempts)


def _own_words(text: str | None) -> tuple[str | None, str]:
    """Reason and message of a termination message `{"reason": …, "message": …}`, (None, "") of others."""
    try:
        document = json.loads(text or "")
        reason, message = document["reason"], document["message"]
    except (ValueError, KeyError, TypeError):
        return None, ""
    if not (isinstance(reason, str) and isinstance(message, str) and _REASON.fullmatch(reason)):
        return None, ""
    return reason, message[:_MESSAGE_LENGTH]


def _tail(text: str) -> str:
    """The end of a log: its last lines tell why."""
    return text[-_MESSAGE_LENGTH:]


def _pull_message(status: dict[str, Any], waiting: dict[str, Any]) -> str:
    # While kubelet waits between two attempts it wraps the same error in words of its own. Without them the
    # message stays the same, and so does the status.
    detail = waiting.get("message", "").rpartition("ErrImagePull: ")[2]
    return f"image {status.get('image', '')}: {detail}" if detail else f"image {status.get('image', '')}"


def _container_statuses(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Container statuses by container name, init containers first."""
    status = pod.get("status", {})
    both = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return {container["name"]: container for container in both}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
