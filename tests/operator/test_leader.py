"""One leader at a time, whatever the replicas' clocks say and whatever the API server does."""

import asyncio
import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.client import Client
from controllable_operator.errors import ApiError, Conflict, NotLeading
from controllable_operator.kinds import DEPLOYMENT
from controllable_operator.leader import Elector, Timing


class Leases:
    """An API server that has one Lease."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = False
        self._lock = threading.Lock()

    def get(self, *_: Any) -> dict[str, Any] | None:
        self._answer()
        return copy.deepcopy(self.lease)

    def create(self, _: Any, manifest: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        with self._lock:
            if self.lease:
                raise Conflict("it exists", 409)
            return self._store(manifest, 1)

    def replace(self, _: Any, manifest: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        with self._lock:
            assert self.lease is not None
            version = self.lease["metadata"]["resourceVersion"]
            if manifest["metadata"]["resourceVersion"] != version:
                raise Conflict("it has changed", 409)
            return self._store(manifest, int(version) + 1)

    @property
    def holder(self) -> str:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else ""

    def _answer(self) -> None:
        if self.down:
            raise ApiError("the API server did not answer")

    def _store(self, manifest: dict[str, Any], version: int) -> dict[str, Any]:
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(version)
        return copy.deepcopy(self.lease)


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


Replica = Callable[..., Elector]


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def replica(leases: Leases) -> Replica:
    def make(identity: str, clock: Clock) -> Elector:
        return Elector(leases, "operators", identity, clock=clock)  # type: ignore[arg-type]

    return make


def test_the_first_one_leads_and_the_others_wait(replica: Replica, leases: Leases) -> None:
    clock = Clock()
    first, second = replica("a", clock), replica("b", clock)
    assert first.try_to_lead()
    assert not second.try_to_lead()
    assert (first.leads, second.leads, leases.holder) == (True, False, "a")


def test_a_leader_that_renews_stays(replica: Replica, leases: Leases) -> None:
    clock = Clock()
    first, second = replica("a", clock), replica("b", clock)
    for _ in range(60):
        assert first.try_to_lead()
        assert not second.try_to_lead()
        clock.now += 2
    assert leases.lease is not None
    assert leases.lease["spec"]["leaseTransitions"] == 1


def test_a_leader_that_died_is_followed_within_its_lease(replica: Replica, leases: Leases) -> None:
    clock = Clock()
    replica("a", clock).try_to_lead()
    second = replica("b", clock)
    while not second.try_to_lead():
        clock.now += 1
    assert 15 < clock.now < 20
    assert leases.holder == "b"


def test_a_lease_that_was_released_is_taken_at_the_next_look(replica: Replica) -> None:
    clock = Clock()
    first, second = replica("a", clock), replica("b", clock)
    first.try_to_lead()
    second.try_to_lead()
    first.release()
    assert not first.leads
    assert second.try_to_lead()


def test_a_release_leaves_the_lease_of_another_alone(replica: Replica, leases: Leases) -> None:
    clock = Clock()
    first, second = replica("a", clock), replica("b", clock)
    first.try_to_lead()
    second.release()
    assert leases.holder == "a"


def test_a_leader_without_an_api_server_stops_before_another_may_start(
    replica: Replica, leases: Leases
) -> None:
    clock = Clock()
    first, second = replica("a", clock), replica("b", clock)
    first.try_to_lead()
    second.try_to_lead()  # this is when it sees the Lease
    leases.down = True
    stopped = started = None
    while started is None:
        clock.now += 0.5
        if clock.now == 12:
            leases.down = False  # for the other one; the leader is stuck
        if clock.now < 12:
            first.try_to_lead()
        if not first.leads and stopped is None:
            stopped = clock.now
        if second.try_to_lead():
            started = clock.now
    assert stopped is not None
    assert stopped <= 10 < 15 <= started


@pytest.mark.parametrize("skew", [-1e6, -60.0, 60.0, 1e6])
def test_clocks_that_differ_make_no_second_leader(replica: Replica, skew: float) -> None:
    here, there = Clock(), Clock(skew)
    first, second = replica("a", here), replica("b", there)
    for _ in range(100):
        assert first.try_to_lead()
        assert not second.try_to_lead()
        here.now += 1
        there.now += 1
    while not second.try_to_lead():
        assert not (first.leads and second.leads)
        here.now += 1
        there.now += 1
    assert not first.leads


def test_the_time_that_a_lease_states_is_not_trusted(replica: Replica, leases: Leases) -> None:
    clock = Clock()
    replica("a", clock).try_to_lead()
    assert leases.lease is not None
    leases.lease["spec"]["renewTime"] = "1970-01-01T00:00:00.000000Z"  # by a clock that is long behind
    assert not replica("b", clock).try_to_lead()


def test_of_two_that_take_a_free_lease_at_once_one_gets_it(replica: Replica, leases: Leases) -> None:
    clock = Clock()
    first, second = replica("a", clock), replica("b", clock)
    first.try_to_lead()
    first.release()
    stale = leases.get()
    second.try_to_lead()
    leases_get, leases.get = leases.get, lambda *_: stale  # type: ignore[method-assign]
    assert not first.try_to_lead()
    leases.get = leases_get  # type: ignore[method-assign]
    assert (leases.holder, second.leads) == ("b", True)


def test_a_replica_that_does_not_lead_writes_nothing(replica: Replica) -> None:
    elector = replica("a", Clock())
    client = Client(None).guarded(lambda: elector.leads)  # type: ignore[arg-type]
    with pytest.raises(NotLeading, match="leads no more"):
        client.apply(DEPLOYMENT, {"metadata": {"namespace": "test", "name": "nano"}})


FAST = Timing(duration=1, deadline=0.3, renew=0.05, look=0.02)


async def test_what_is_started_is_stopped_when_the_lease_is_lost_and_started_again(leases: Leases) -> None:
    elector = Elector(leases, "operators", "a", timing=FAST)  # type: ignore[arg-type]
    heard: list[str] = []

    async def end() -> None:
        heard.append("end")

    task = asyncio.create_task(elector.run(lambda: heard.append("begin"), end))
    await until(lambda: heard == ["begin"])
    leases.down = True
    await until(lambda: heard == ["begin", "end"])
    leases.down = False
    await until(lambda: heard == ["begin", "end", "begin"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert heard == ["begin", "end", "begin", "end"]
    assert leases.holder == ""  # free for the next one


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for comes from threads
            await asyncio.sleep(0.01)
