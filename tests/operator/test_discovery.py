"""What the operator finds out about the cluster that it runs in, and when it asks again."""

import asyncio
from collections.abc import Callable

import pytest
from controllable_operator.cluster import Cluster
from controllable_operator.discovery import Discovery, discover
from controllable_operator.errors import ApiError
from controllable_operator.kinds import POD_MONITOR, PROMETHEUS_RULE, SCALED_OBJECT

MONITORING = {"podmonitors", "prometheusrules", "servicemonitors"}


class ApiServer:
    """Serves these groups, and fails for those that hold an error."""

    def __init__(self, **groups: set[str] | ApiError) -> None:
        self.groups = groups

    def served(self, api_version: str) -> set[str] | None:
        answer = self.groups.get(api_version.split(".")[0])
        if isinstance(answer, ApiError):
            raise answer
        return answer


def found(before: Cluster | None = None, **groups: set[str] | ApiError) -> Cluster:
    return discover(ApiServer(**groups), before or Cluster())  # type: ignore[arg-type]


def test_a_bare_cluster_has_none_of_the_optional_kinds() -> None:
    assert found() == Cluster()


def test_kinds_are_had_one_by_one() -> None:
    cluster = found(monitoring={"podmonitors"})
    assert cluster.has(POD_MONITOR)
    assert not cluster.has(POD_MONITOR, PROMETHEUS_RULE)
    assert not cluster.has(SCALED_OBJECT)


def test_a_server_of_metrics_counts_even_before_it_has_any() -> None:
    assert found(custom=set()).custom_metrics
    assert not found().custom_metrics


def test_an_extension_server_that_is_down_is_taken_for_what_it_was() -> None:
    down = ApiError("the server is currently unable to handle the request", 503)
    before = found(keda={"scaledobjects"}, custom={"pods/x"})
    assert found(before, keda=down, custom=down, monitoring=MONITORING) == Cluster(
        before.kinds | {POD_MONITOR, PROMETHEUS_RULE}, custom_metrics=True
    )
    assert found(None, keda=down, custom=down) == Cluster()


def test_an_api_server_that_does_not_answer_is_no_empty_cluster() -> None:
    with pytest.raises(ApiError):
        found(keda=ApiError("the API server did not answer"))


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


async def test_what_is_there_is_known_before_the_first_reconciliation() -> None:
    server = ApiServer(keda={"scaledobjects"})
    discovery = Discovery(lambda before: discover(server, before), lambda: None)  # type: ignore[arg-type]
    await discovery.start()
    assert discovery.cluster.has(SCALED_OBJECT)
    await discovery.stop()


async def test_a_kind_that_is_served_a_little_after_it_was_told_of_is_found() -> None:
    server, changes, looks = ApiServer(), [], []

    def look(before: Cluster) -> Cluster:
        looks.append(before)
        if len(looks) == 3:
            server.groups["monitoring"] = MONITORING
        return discover(server, before)  # type: ignore[arg-type]

    discovery = Discovery(look, lambda: changes.append(discovery.cluster), look_after=(0.0, 0.0, 0.0))
    await discovery.start()
    discovery.note()
    await until(lambda: discovery.cluster.has(POD_MONITOR, PROMETHEUS_RULE))
    await until(lambda: len(looks) == 4)
    assert changes == [discovery.cluster]  # told once, whatever was looked at how often
    await discovery.stop()


async def test_a_look_that_fails_changes_nothing_and_the_next_one_counts() -> None:
    server, changes = ApiServer(keda={"scaledobjects"}), []
    discovery = Discovery(
        lambda before: discover(server, before),  # type: ignore[arg-type]
        lambda: changes.append(True),
        look_after=(0.0,),
    )
    await discovery.start()
    server.groups["keda"] = ApiError("the API server did not answer")
    discovery.note()
    await asyncio.sleep(0.1)
    assert discovery.cluster.has(SCALED_OBJECT)
    assert not changes
    del server.groups["keda"]
    discovery.note()
    await until(lambda: not discovery.cluster.kinds)
    assert changes
    await discovery.stop()
