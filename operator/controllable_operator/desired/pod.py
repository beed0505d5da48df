"""The pod: fetch brings the weights, triton thinks, frontend talks to clients."""

import math
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.api.types import seconds
from controllable_operator.desired import weights
from controllable_operator.desired.common import HTTP_PORT, selector_labels
from controllable_operator.desired.config_map import ENGINE_FILE, engine_text
from controllable_operator.desired.config_map import name_of as config_map_name
from controllable_operator.desired.gpus import with_gpus
from controllable_operator.placement.placed import Placed

TRITON, FRONTEND = "triton", "frontend"

# Loading 30 GB from a slow disk takes many minutes, and killing a pod that is loading helps nobody.
STARTUP_SECONDS = 1800
# Endpoints take a few seconds to forget a pod. Until then it still gets requests, so it must still answer.
ENDPOINT_DRAIN_SECONDS = 5
# Triton outlives the frontend a little: what the frontend took in last still has to get through.
TRITON_DRAIN_SECONDS = ENDPOINT_DRAIN_SECONDS + 2
EXIT_SECONDS = 10
# A container that is killed for being dead gets as long as its log needs to be written.
DEAD_SECONDS = 2

_USER = 1000
# Folders inside the container, each a volume of its own.
_TMP_DIR = "/tmp"  # noqa: S108
_SHM_DIR = "/dev/shm"  # noqa: S108
_CONFIG_DIR = "/etc/controllable"


def pod_spec(model: ControllableModel, image: str, placed: Placed | None = None) -> dict[str, Any]:
    """The pod's spec; it may run in a namespace that enforces the `restricted` Pod Security Standard."""
    drain = math.ceil(seconds(model.spec.serving.drain_timeout))
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TRITON_DRAIN_SECONDS + drain + EXIT_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            # else every start of a pod walks through all files of its volumes
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # A node that fails takes as few replicas with it as can be, where there is a choice.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector_labels(model.metadata.name)},
                "matchLabelKeys": ["pod-template-hash"],
            }
        ],
        "initContainers": [_fetch(model, image, fetch) for fetch in weights.fetches(model)],
        "containers": [_triton(model, image), _frontend(image)],
        "volumes": _volumes(model),
    }
    if secrets := weights.pull_secrets(model):
        spec["imagePullSecrets"] = secrets
    return with_gpus(model, spec, TRITON, placed.ask, placed.placement) if placed else spec


def _fetch(model: ControllableModel, image: str, fetch: weights.Fetch) -> dict[str, Any]:
    return _container(fetch.container, image) | {
        "args": fetch.arguments,
        "env": [{"name": "HOME", "value": _TMP_DIR}, *fetch.environment],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "volumeMounts": [*weights.mounts(model, read_only=False), _mount("tmp", _TMP_DIR)],
    }


def _triton(model: ControllableModel, image: str) -> dict[str, Any]:
    resources = model.spec.serving.resources.to_json()
    # Triton's own READY stays true after its engine died. The frontend asks the model, and this command the
    # frontend: where there is no answer the engine lives on, as it does while it loads.
    probe = ["python3", "-m", "controllable_inference.serving.liveness", str(HTTP_PORT)]
    return _container(TRITON, image) | {
        "args": ["triton"],
        "env": [*_engine_env(), _threads(resources)],
        "resources": resources,
        # A dead engine has nothing to drain: without its own grace period, Triton waits for it as long as
        # for a living one, and the model is away for minutes.
        "livenessProbe": {
            "exec": {"command": probe},
            "periodSeconds": 5,
            "timeoutSeconds": 15,
            "failureThreshold": 4,
            "terminationGracePeriodSeconds": DEAD_SECONDS,
        },
        "lifecycle": _sleep_before_stop(TRITON_DRAIN_SECONDS),
        "volumeMounts": [
            *weights.mounts(model, read_only=True),
            _mount("config", _CONFIG_DIR, read_only=True),
            _mount("shm", _SHM_DIR),
            _mount("tmp", _TMP_DIR),
        ],
    }


def _frontend(image: str) -> dict[str, Any]:
    alive = {"httpGet": {"path": "/health/frontend", "port": "http"}, "timeoutSeconds": 5}
    ready = {"httpGet": {"path": "/health/ready", "port": "http"}, "timeoutSeconds": 5}
    return _container(FRONTEND, image) | {
        # On SIGTERM it goes on for as long as it may still get requests, and then finishes those it has.
        "args": ["frontend", f"--lame-duck={ENDPOINT_DRAIN_SECONDS}"],
        "env": _engine_env(),
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "startupProbe": alive | {"periodSeconds": 1, "failureThreshold": 120},
        "livenessProbe": alive | {"periodSeconds": 10, "failureThreshold": 3},
        "readinessProbe": ready | {"periodSeconds": 5, "failureThreshold": 2},
        "volumeMounts": [_mount("config", _CONFIG_DIR, read_only=True), _mount("tmp", _TMP_DIR)],
    }


def _container(name: str, image: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        # Without a message of its own, a container that failed is explained by the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _engine_env() -> list[dict[str, str]]:
    return [
        {"name": "CONTROLLABLE_ENGINE_CONFIG", "value": f"{_CONFIG_DIR}/{ENGINE_FILE}"},
        {"name": "HOME", "value": _TMP_DIR},
    ]


def _threads(resources: dict[str, Any]) -> dict[str, Any]:
    """How many threads the engine computes with: the cores of its CPU limit, else of its request, rounded up.

    torch would start one for each core of the node. Threads wait for each other, so those without a core of
    their own hold up all others: on shared cores two were seen to be 15 times slower than one.
    """
    for kind in ("limits", "requests"):
        if resources.get(kind, {}).get("cpu") not in (None, 0, "0"):
            cores = {"resource": f"{kind}.cpu", "divisor": "1"}
            return {"name": "OMP_NUM_THREADS", "valueFrom": {"resourceFieldRef": cores}}
    return {"name": "OMP_NUM_THREADS", "value": "1"}


def _sleep_before_stop(duration: int) -> dict[str, Any]:
    return {"preStop": {"sleep": {"seconds": duration}}}


def _mount(name: str, path: str, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})


def _volumes(model: ControllableModel) -> list[dict[str, Any]]:
    return [
        *weights.volumes(model),
        {"name": "config", "configMap": {"name": config_map_name(model, engine_text(model))}},
        # The runtime's default of 64 MiB is too small for the tensors that Triton hands to its backend, and
        # for NCCL: GPUs that do not reach each other's memory talk through it.
        {
            "name": "shm",
            "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi" if model.spec.gpu.count > 1 else "512Mi"},
        },
        {"name": "tmp", "emptyDir": {}},
    ]
