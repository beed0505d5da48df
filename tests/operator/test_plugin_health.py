"""How an object is, at a glance, whatever its kind."""

from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.plugin.health import container_health, health
from plugin_objects import condition, model_manifest

Manifest = dict[str, Any]


def manifest(kind: str, spec: Manifest | None = None, *conditions: Manifest, **status: Any) -> Manifest:
    return {
        "kind": kind,
        "metadata": {},
        "spec": spec or {},
        "status": status | {"conditions": list(conditions)},
    }


CASES: list[tuple[str, Manifest, tuple[str, str]]] = [
    (
        "all ready",
        manifest("Deployment", {"replicas": 2}, readyReplicas=2, updatedReplicas=2),
        ("ok", "2/2 ready"),
    ),
    (
        "some ready",
        manifest("Deployment", {"replicas": 2}, readyReplicas=1, updatedReplicas=2),
        ("busy", "1/2 ready"),
    ),
    (
        "rolling",
        manifest("Deployment", {"replicas": 2}, readyReplicas=2, updatedReplicas=1),
        ("busy", "2/2 ready, 1 of the newest template"),
    ),
    (
        "no pods allowed",
        manifest(
            "ReplicaSet",
            {"replicas": 1},
            condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota"),
        ),
        ("bad", "0/1 ready; exceeded quota"),
    ),
    ("stopped", manifest("Deployment", {"replicas": 0}), ("idle", "no pods wanted")),
    ("stopping", manifest("Deployment", {"replicas": 0}, readyReplicas=1), ("busy", "1/0 ready")),
    ("bound", manifest("PersistentVolumeClaim", phase="Bound"), ("ok", "bound")),
    ("unbound", manifest("PersistentVolumeClaim", phase="Pending"), ("busy", "pending")),
    ("lost", manifest("PersistentVolumeClaim", phase="Lost"), ("bad", "lost")),
    ("a claim without devices", manifest("ResourceClaim"), ("busy", "no devices yet")),
    (
        "a claim with devices",
        manifest(
            "ResourceClaim",
            allocation={"devices": {"results": [{"pool": "n-1", "device": f"gpu-{i}"} for i in (2, 3)]}},
        ),
        ("ok", "gpu-2, gpu-3 of n-1"),
    ),
    (
        "waiting for a queue",
        manifest("Pod", None, condition("PodScheduled", "False", "SchedulingGated", "blocked")),
        ("busy", "waits for its scheduling gates"),
    ),
    (
        "scaling",
        manifest(
            "HorizontalPodAutoscaler",
            {"minReplicas": 1, "maxReplicas": 4},
            condition("ScalingActive", "True", "ValidMetricFound"),
            desiredReplicas=2,
        ),
        ("ok", "wants 2 of 1 to 4"),
    ),
    (
        "scaling blind",
        manifest(
            "HorizontalPodAutoscaler",
            {"maxReplicas": 4},
            condition("ScalingActive", "False", "FailedGetPodsMetric", "no metrics"),
        ),
        ("bad", "wants 0 of 1 to 4; no metrics"),
    ),
    ("job done", manifest("Job", None, condition("Complete", "True", "Done")), ("idle", "done")),
    (
        "job failed",
        manifest("Job", None, condition("Failed", "True", "Limit", "too often")),
        ("bad", "too often"),
    ),
    ("without a status", {"kind": "ConfigMap", "metadata": {}}, ("ok", "")),
    ("a kind nobody knows, well", manifest("Widget", None, condition("Ready", "True", "Yes")), ("ok", "")),
    (
        "a kind nobody knows, broken",
        manifest("Widget", None, condition("Ready", "False", "No", "lost")),
        ("bad", "lost"),
    ),
    (
        "a kind nobody knows, unsure",
        manifest("Widget", None, condition("Ready", "Unknown", "Eh")),
        ("busy", "not Ready"),
    ),
    ("going away", {"kind": "Pod", "metadata": {"deletionTimestamp": "now"}}, ("busy", "being deleted")),
    ("nothing known", model_manifest("m"), ("busy", "nothing is known yet")),
    ("progressing", model_manifest("m", condition("Ready", "False", "Progressing")), ("busy", "Progressing")),
    ("serving", model_manifest("m", condition("Ready", "True", "Serving")), ("ok", "Serving")),
]


@pytest.mark.parametrize(("found", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_object_is_as_its_status_says(found: Manifest, expected: tuple[str, str]) -> None:
    assert health(found) == expected


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("ready", ("ok", "ready")),
        ("loading", ("busy", "not ready")),
        ("pending", ("bad", "no node takes it")),
    ],
)
def test_a_pod_is_as_far_as_its_life_went(
    make_pod: Callable[..., Manifest], stage: str, expected: tuple[str, str]
) -> None:
    assert health(make_pod(stage) | {"kind": "Pod"}) == expected


@pytest.mark.parametrize(
    ("status", "init", "expected"),
    [
        ({}, False, ("busy", "not started")),
        ({"state": {"waiting": {"reason": "PodInitializing"}}}, False, ("busy", "PodInitializing")),
        ({"state": {"waiting": {"reason": "ErrImagePull"}}}, False, ("bad", "ErrImagePull")),
        ({"state": {"running": {}}, "ready": True, "restartCount": 1}, False, ("ok", "running, 1 restart")),
        ({"state": {"running": {}}, "ready": False}, False, ("busy", "running, not ready")),
        ({"state": {"terminated": {"exitCode": 0}}}, True, ("ok", "done")),
        (
            {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            False,
            ("bad", "OOMKilled, exit code 137"),
        ),
    ],
)
def test_a_container_is_as_its_state_says(status: Manifest, init: bool, expected: tuple[str, str]) -> None:
    assert container_health(status, init=init) == expected
