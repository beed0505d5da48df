"""torch would start a thread for each core of the node: the pod says how many cores its container has."""

from typing import Any

import pytest
from controllable_operator.desired.pod import pod_spec

NAMED = {"name": "OMP_NUM_THREADS"}


def of(resource: str) -> dict[str, Any]:
    # Downward API: whole cores, rounded up
    return NAMED | {"valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": "1"}}}


@pytest.mark.parametrize(
    ("resources", "threads"),
    [
        ({}, of("requests.cpu")),  # there is a request by default
        ({"requests": {"cpu": "2"}}, of("requests.cpu")),
        ({"requests": {"cpu": "100m"}, "limits": {"cpu": "1500m"}}, of("limits.cpu")),
        ({"limits": {"memory": "1Gi"}}, of("requests.cpu")),
        ({"requests": {"memory": "1Gi"}}, NAMED | {"value": "1"}),
        ({"requests": {"cpu": 0}}, NAMED | {"value": "1"}),
    ],
)
def test_the_engine_gets_a_thread_for_each_core_that_its_container_has(
    make_model: Any, resources: dict[str, Any], threads: dict[str, Any]
) -> None:
    pod = pod_spec(make_model(serving={"resources": resources}, gpu={"count": 1}), "runtime")
    (triton,) = (container for container in pod["containers"] if container["name"] == "triton")
    assert [entry for entry in triton["env"] if entry["name"] == "OMP_NUM_THREADS"] == [threads]
