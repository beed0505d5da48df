"""Builders of resources and pods for the operator's tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster_fixtures import Kubectl
from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import TEMPLATE_HASH, labels
from controllable_operator.settings import Settings
from gpu_boards import Boards
from gpu_objects import DEVICE_CLASS

SETTINGS = Settings(runtime_image="localhost/runtime:1")


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture
def make_model() -> Callable[..., ControllableModel]:
    """A model by its spec, as it comes from the API server (defaults filled in by the types)."""

    def make(
        uri: str = "image:///models/nano", name: str = "nano", generation: int = 1, **spec: Any
    ) -> ControllableModel:
        source = {"uri": uri} | spec.pop("model", {})
        return ControllableModel.parse(
            {
                "metadata": {"name": name, "namespace": "test", "uid": "uid-1", "generation": generation},
                "spec": {"model": source} | spec,
                "status": {},
            }
        )

    return make


@pytest.fixture
def make_pod() -> Callable[..., dict[str, Any]]:
    """A pod as kubelet reports it, at one of the stages of its life."""

    def make(stage: str = "ready", template: str = "new", **overrides: dict[str, Any]) -> dict[str, Any]:
        done, waiting = {"terminated": {"exitCode": 0}}, {"waiting": {"reason": "PodInitializing"}}
        running = {"running": {"startedAt": "2026-01-01T00:01:00Z"}}
        fetch, triton, frontend = {
            "pending": (None, None, None),
            "fetching": (running, waiting, waiting),
            "loading": (done, running, running),
            "ready": (done, running, running),
            "silent": (done, running, running),
        }[stage]
        statuses = {
            name: {"name": name, "image": "runtime", "state": state, "lastState": {}, "restartCount": 0}
            | {"ready": stage == "ready" or (stage == "silent" and name == "triton")}
            | overrides.get(name, {})
            for name, state in (("fetch", fetch), ("triton", triton), ("frontend", frontend))
            if state
        }
        ready_since = "2026-01-01T00:02:00Z" if stage in {"ready", "silent"} else "2026-01-01T00:00:00Z"
        return {
            "metadata": {
                "name": "nano-1",
                "labels": labels("nano"),
                "annotations": {TEMPLATE_HASH: template},
            },
            "status": {
                "phase": "Running",
                "conditions": [
                    {"type": "PodScheduled", "status": "False" if stage == "pending" else "True"}
                    | overrides.get("scheduled", {}),
                    {
                        "type": "Ready",
                        "status": "True" if stage == "ready" else "False",
                        "lastTransitionTime": ready_since,
                    },
                ],
                "initContainerStatuses": [s for n, s in statuses.items() if n == "fetch"],
                # by name, as kubelet has them
                "containerStatuses": [statuses[n] for n in sorted(statuses) if n != "fetch"],
            },
        }

    return make


@pytest.fixture(scope="module")
def device_class(cluster: Kubectl) -> Iterator[None]:
    """The DeviceClass of NVIDIA's DRA driver."""
    cel = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].type == 'gpu'"
    spec = {"selectors": [{"cel": {"expression": cel}}]}
    cluster.apply({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "spec": spec} | DEVICE_CLASS)
    yield
    cluster("delete", "deviceclass", "gpu.nvidia.com")


@pytest.fixture
def boards(cluster: Kubectl, device_class: None) -> Iterator[Boards]:
    """Boards with GPUs that the cluster is only told of, until the end of the test."""
    told = Boards(cluster)
    yield told
    told.forget()
