"""Replicas: who sets them, within which bounds, and what the status tells of it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from controllable_operator.api import ControllableModel, Decision, ScalingStatus, Status
from controllable_operator.cluster import Cluster
from controllable_operator.desired.autoscaler import autoscaler, obstacle
from controllable_operator.kinds import SCALED_OBJECT
from controllable_operator.scaling import scaling_status
from controllable_operator.settings import Settings

MakeModel = Callable[..., ControllableModel]
Manifest = dict[str, Any]

BARE = Cluster()
METRICS = Cluster(custom_metrics=True)
KEDA = Cluster(frozenset({SCALED_OBJECT}))
SETTINGS = Settings(runtime_image="runtime:1", prometheus_url="http://prometheus:9090")
AUTO = {"maxReplicas": 4}
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def in_state(model: ControllableModel, **status: Any) -> ControllableModel:
    return model.model_copy(update={"status": Status.model_validate(status)})


def with_true(model: ControllableModel, kind: str) -> ControllableModel:
    condition = {"type": kind, "status": "True", "observedGeneration": 1, "reason": "R", "message": ""}
    return in_state(model, conditions=[condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}])


def built(model: ControllableModel, cluster: Cluster, settings: Settings = SETTINGS) -> Manifest:
    manifest = autoscaler(model, settings, cluster)
    assert manifest is not None
    return manifest


# --- how many pods there are to be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"replicas": 3}, 3),
        ({"replicas": 3, "suspend": True}, 0),
        ({"replicas": 0}, 0),
        ({"replicas": 1, "scaling": {"minReplicas": 2, "maxReplicas": 4}}, 2),
        ({"replicas": 0, "scaling": {"minReplicas": 2, "maxReplicas": 4}}, 0),
        ({"replicas": 1, "scaling": {"minReplicas": 2}}, 1),
        ({"replicas": 9, "scaling": {"maxGPUs": 4}, "gpu": {"count": 1}}, 4),
        ({"replicas": 9, "scaling": {"maxGPUs": 4}}, 9),
    ],
    ids=str,
)
def test_replicas_are_those_of_the_spec_within_its_bounds(
    make_model: MakeModel, spec: dict[str, Any], wanted: int
) -> None:
    assert make_model(**spec).spec.wanted_replicas == wanted


# --- which autoscaler ---------------------------------------------------------------------------------------


def test_without_max_replicas_there_is_no_autoscaler(make_model: MakeModel) -> None:
    assert autoscaler(make_model(), SETTINGS, KEDA) is None
    assert obstacle(make_model(), SETTINGS, KEDA) == (
        "Disabled",
        "spec.replicas is as it was set; set spec.scaling.maxReplicas for an autoscaler",
    )


def test_a_suspended_model_has_none(make_model: MakeModel) -> None:
    model = make_model(scaling=AUTO, suspend=True)
    assert autoscaler(model, SETTINGS, KEDA) is None
    assert obstacle(model, SETTINGS, KEDA) == ("Disabled", "the model is suspended")


def test_keda_is_preferred_where_prometheus_is_known(make_model: MakeModel) -> None:
    both = Cluster(KEDA.kinds, custom_metrics=True)
    model = make_model(scaling=AUTO)
    assert built(model, both)["kind"] == "ScaledObject"
    assert built(model, both, Settings("runtime:1"))["kind"] == "HorizontalPodAutoscaler"


@pytest.mark.parametrize(
    ("cluster", "message"), [(BARE, "install KEDA, or an adapter"), (KEDA, "prometheus.url")]
)
def test_without_a_source_of_metrics_none_is_made_and_the_message_says_what_is_missing(
    make_model: MakeModel, cluster: Cluster, message: str
) -> None:
    found = obstacle(make_model(scaling=AUTO), Settings("runtime:1"), cluster)
    assert found is not None
    assert found[0] == "MetricsUnavailable"
    assert message in found[1]


@pytest.mark.parametrize("cluster", [KEDA, METRICS])
def test_every_autoscaler_sets_the_replicas_of_the_model_itself(
    make_model: MakeModel, cluster: Cluster
) -> None:
    target = built(make_model(scaling=AUTO), cluster)["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("ControllableModel", "nano")


def test_max_gpus_bounds_max_replicas(make_model: MakeModel) -> None:
    model = make_model(gpu={"count": 1}, scaling={"maxReplicas": 8, "maxGPUs": 3})
    assert built(model, METRICS)["spec"]["maxReplicas"] == 3
    assert built(model, KEDA)["spec"]["maxReplicaCount"] == 3


def test_the_plain_autoscaler_follows_the_queue(make_model: MakeModel) -> None:
    spec = built(make_model(scaling=AUTO | {"minReplicas": 2}), METRICS)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == "controllable_requests_waiting"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "8"}


def test_the_plain_autoscaler_cannot_stop_a_model(make_model: MakeModel) -> None:
    assert built(make_model(scaling=AUTO | {"minReplicas": 0}), METRICS)["spec"]["minReplicas"] == 1


def triggers(model: ControllableModel) -> dict[str, Manifest]:
    return {trigger["name"]: trigger for trigger in built(model, KEDA)["spec"]["triggers"]}


def test_keda_has_one_trigger_for_each_target(make_model: MakeModel) -> None:
    targets = {"waitingRequests": 5, "kvUtilisation": 80, "latencyP99": "1200ms"}
    found = triggers(make_model(scaling=AUTO | {"targets": targets}))
    thresholds = {name: trigger["metadata"]["threshold"] for name, trigger in found.items()}
    assert thresholds == {"waitingRequests": "5", "kvUtilisation": "80", "latencyP99": "1.2"}
    assert {name: trigger["metricType"] for name, trigger in found.items()} == {
        "waitingRequests": "AverageValue",
        "kvUtilisation": "Value",
        "latencyP99": "Value",
    }
    for trigger in found.values():
        assert 'namespace="test",app_kubernetes_io_instance="nano"' in trigger["metadata"]["query"]


def test_a_model_that_may_be_stopped_is_idle_only_while_nothing_is_in_flight(make_model: MakeModel) -> None:
    query = triggers(make_model(scaling=AUTO | {"minReplicas": 0}))["inFlight"]["metadata"]["query"]
    assert "controllable_requests_running" in query
    assert "controllable_requests_waiting" in query


def test_a_model_that_comes_up_is_not_stopped_before_it_is_ready(make_model: MakeModel) -> None:
    model = make_model(replicas=1, scaling=AUTO | {"minReplicas": 0})
    assert built(model, KEDA)["spec"]["minReplicaCount"] == 1
    assert built(with_true(model, "ModelLoaded"), KEDA)["spec"]["minReplicaCount"] == 0
    # Ready it was as well while it had no pods on purpose.
    assert built(with_true(model, "Ready"), KEDA)["spec"]["minReplicaCount"] == 1
    stopped = make_model(replicas=0, scaling=AUTO | {"minReplicas": 0})
    assert built(stopped, KEDA)["spec"]["minReplicaCount"] == 0


# --- what the status tells ----------------------------------------------------------------------------------


def plain(
    current: int = 1, desired: int = 3, time: str = "2026-01-01T11:59:00Z", **conditions: tuple[str, str]
) -> Manifest:
    """A live HorizontalPodAutoscaler. conditions: type=(status, reason)."""
    metric = {"name": "controllable_requests_waiting"}
    target = {"type": "AverageValue", "averageValue": "8"}
    conditions = {"ScalingActive": ("True", "ValidMetricFound")} | conditions
    return {
        "kind": "HorizontalPodAutoscaler",
        "spec": {"metrics": [{"type": "Pods", "pods": {"metric": metric, "target": target}}]},
        "status": {
            "currentReplicas": current,
            "desiredReplicas": desired,
            "lastScaleTime": time,
            "currentMetrics": [
                {"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": "20500m"}}}
            ],
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": f"{kind} says {reason}"}
                for kind, (status, reason) in conditions.items()
            ],
        },
    }


def scaled_object(**conditions: str) -> Manifest:
    listed = [{"type": kind, "status": status, "message": "m"} for kind, status in conditions.items()]
    return {"kind": "ScaledObject", "status": {"conditions": listed}}


def told(model: ControllableModel, *children: Manifest, cluster: Cluster = METRICS) -> Any:
    return scaling_status(model, obstacle(model, SETTINGS, cluster), children, NOW)


@pytest.mark.parametrize(
    ("spec", "children", "verdict", "reason"),
    [
        ({}, [], False, "Disabled"),
        ({"scaling": AUTO}, [], False, "MetricsUnavailable"),
        ({"scaling": AUTO}, [plain()], True, "Active"),
        ({"scaling": AUTO}, [plain(ScalingActive=("False", "FailedGet"))], False, "MetricsUnavailable"),
        ({"scaling": AUTO}, [plain(), scaled_object(Ready="False")], False, "MetricsUnavailable"),
        ({"scaling": AUTO}, [plain(), scaled_object(Ready="True")], True, "Active"),
        ({"scaling": AUTO, "replicas": 0}, [plain()], False, "ScaledToZero"),
        ({"scaling": AUTO}, [plain(ScalingLimited=("True", "TooManyReplicas"))], True, "Active"),
        (
            {"scaling": AUTO | {"maxGPUs": 2}, "gpu": {"count": 1}},
            [plain(ScalingLimited=("True", "TooManyReplicas"))],
            False,
            "BudgetExhausted",
        ),
    ],
)
def test_the_condition_says_whether_an_autoscaler_owns_the_replicas(
    make_model: MakeModel, spec: dict[str, Any], children: list[Manifest], verdict: bool, reason: str
) -> None:
    (found, why, message), _ = told(make_model(**spec), *children)
    assert (found, why) == (verdict, reason)
    assert message


def test_targets_that_only_keda_follows_are_named_where_it_is_missing(make_model: MakeModel) -> None:
    model = make_model(scaling=AUTO | {"targets": {"latencyP99": "1s"}})
    (_, _, message), _ = told(model, plain())
    assert message.endswith("targets.latencyP99 would need KEDA")


def test_a_decision_is_told_once_with_signal_and_numbers(make_model: MakeModel) -> None:
    model = make_model(scaling=AUTO)
    _, first = told(model, plain(current=1, desired=3))
    (decision,) = first.decisions
    assert decision.to_json() == {
        "signal": "waitingRequests",
        "from": 1,
        "to": 3,
        "reason": "waitingRequests at 20.5, target 8",
        "time": "2026-01-01T11:59:00Z",
    }
    after = model.model_copy(update={"status": Status(scaling=first)})
    _, second = told(after, plain(current=3, desired=3))
    assert second == first


def test_a_decision_that_was_seen_late_starts_where_the_one_before_ended(make_model: MakeModel) -> None:
    before = Decision.model_validate(
        {"signal": "waitingRequests", "to": 2, "reason": "r", "time": "2026-01-01T10:00:00Z"}
    )
    model = make_model(scaling=AUTO).model_copy(
        update={"status": Status(scaling=ScalingStatus(decisions=[before]))}
    )
    _, status = told(model, plain(current=3, desired=3))
    assert (status.decisions[-1].from_, status.decisions[-1].to) == (2, 3)


def test_five_decisions_are_kept(make_model: MakeModel) -> None:
    model = make_model(scaling=AUTO)
    for minute in range(8):
        _, status = told(model, plain(desired=minute + 1, time=f"2026-01-01T10:0{minute}:00Z"))
        model = model.model_copy(update={"status": Status(scaling=status)})
    assert [decision.to for decision in status.decisions] == [4, 5, 6, 7, 8]


def test_the_signal_of_keda_is_told_by_its_name(make_model: MakeModel) -> None:
    model = make_model(scaling=AUTO | {"targets": {"waitingRequests": 8, "latencyP99": "1s"}})
    metrics = [("s0-prometheus", "averageValue", "8", "2"), ("s1-prometheus", "value", "1", "2500m")]
    autoscaler = plain()
    autoscaler["spec"]["metrics"] = [
        {"type": "External", "external": {"metric": {"name": name}, "target": {field: target}}}
        for name, field, target, _ in metrics
    ]
    autoscaler["status"]["currentMetrics"] = [
        {"type": "External", "external": {"metric": {"name": name}, "current": {field: value}}}
        for name, field, _, value in metrics
    ]
    _, status = told(model, autoscaler, scaled_object(Ready="True"), cluster=KEDA)
    assert status.decisions[0].signal == "latencyP99"
    assert status.decisions[0].reason == "latencyP99 at 2.5, target 1"


def test_an_idle_model_that_keda_stopped_is_a_decision_too(make_model: MakeModel) -> None:
    model = in_state(make_model(replicas=0, scaling=AUTO | {"minReplicas": 0}), replicas=2)
    idle = scaled_object(Ready="True", Active="False")
    (verdict, reason, _), status = told(model, idle, cluster=KEDA)
    assert (verdict, reason) == (False, "ScaledToZero")
    assert status.decisions[0].to_json() == {
        "signal": "inFlight",
        "from": 2,
        "to": 0,
        "reason": "no request is in flight",
        "time": "2026-01-01T12:00:00Z",
    }
    by_hand = scaled_object(Ready="True", Active="True")
    assert not told(model, by_hand, cluster=KEDA)[1].decisions
    again = model.model_copy(update={"status": Status(scaling=status, replicas=0)})
    assert told(again, idle, cluster=KEDA)[1] == status
