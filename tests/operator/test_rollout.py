"""How a rollout goes on, decided from what is recorded and what is seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from controllable_operator.api import Rollout, RolloutStatus
from controllable_operator.rollout import (
    Seen,
    Share,
    canary_replicas,
    goes_everywhere,
    look_again_in,
    news,
    next_step,
)
from controllable_operator.traffic import Traffic
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = Rollout(strategy="Canary", interval="60s", max_latency_p99="1s")
TWO = Share(replicas=2)

OLD = Seen(newest="new", stable="old", settled=False)
QUIET = Traffic(requests=100, errors=0, buckets={0.5: 100, float("inf"): 100})


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def status(state: str, step: int = 1, **fields: Any) -> RolloutStatus:
    document = {"revision": "new", "strategy": "Canary", "state": state, "step": step, "weight": 10}
    stamp = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    return RolloutStatus.model_validate(document | {"since": stamp, "reason": ""} | fields)


def step(
    recorded: RolloutStatus | None,
    seen: Seen = OLD,
    rollout: Rollout = CANARY,
    share: Share = TWO,
    now: datetime = NOW,
) -> RolloutStatus:
    return next_step(rollout, recorded, seen, share, now)


def test_a_new_model_goes_everywhere_at_once() -> None:
    seen = Seen(newest="new", stable=None, settled=False)
    assert step(None, seen).state == "Updating"
    assert goes_everywhere(CANARY, None, "new", None)


def test_a_changed_template_starts_a_canary_and_leaves_what_serves_as_it_is() -> None:
    found = step(status("Complete", revision="old"))
    assert (found.state, found.revision, found.step, found.weight) == ("Starting", "new", 1, 0)
    assert not goes_everywhere(CANARY, found, "new", "old")
    assert canary_replicas(CANARY, found, "new", TWO) == 1


def test_a_change_of_what_never_came_up_goes_everywhere_at_once() -> None:
    broken = status("Updating", revision="old")
    assert goes_everywhere(CANARY, broken, "new", "old")
    found = step(broken)
    assert (found.state, found.revision) == ("Updating", "new")
    assert goes_everywhere(CANARY, found, "new", "old")


def test_a_rolling_update_goes_everywhere_at_once() -> None:
    rolling = Rollout()
    assert step(status("Complete", revision="old"), rollout=rolling).state == "Updating"
    assert goes_everywhere(rolling, status("Complete", revision="old"), "new", "old")


def test_a_rollout_is_complete_once_every_pod_is_of_the_revision() -> None:
    found = step(status("Promoting", 2), replace(OLD, stable="new", settled=True))
    assert (found.state, found.weight) == ("Complete", 100)
    assert canary_replicas(CANARY, found, "new", TWO) is None


def test_the_canary_is_not_watched_before_all_its_pods_answer() -> None:
    four = Share(replicas=10)
    starting = status("Starting")
    assert step(starting, replace(OLD, canary_ready=1), share=four) == starting
    found = step(starting, replace(OLD, canary_ready=2), share=four, now=after(30))
    assert (found.state, found.weight, found.since) == ("Watching", 10, "2026-01-01T00:00:30Z")


def test_the_next_step_begins_after_the_interval_and_the_weight_grows_once_its_pods_answer() -> None:
    watched = replace(OLD, canary_ready=1, traffic=QUIET)
    assert step(status("Watching"), watched, now=after(59)) == status("Watching")
    found = step(status("Watching"), watched, now=after(60))
    assert (found.state, found.step, found.weight) == ("Starting", 2, 10)
    assert "0 of 100 requests to the new revision failed" in found.reason
    assert canary_replicas(CANARY, found, "new", TWO) == 2
    later = step(found, replace(OLD, canary_ready=2), now=after(70))
    assert (later.state, later.weight) == ("Watching", 50)


def test_after_the_last_step_every_pod_is_replaced_and_the_canary_stays_meanwhile() -> None:
    found = step(status("Watching", 2), replace(OLD, canary_ready=2, traffic=QUIET), now=after(60))
    assert found.state == "Promoting"
    assert goes_everywhere(CANARY, found, "new", "old")
    assert canary_replicas(CANARY, found, "new", TWO) == 2
    assert step(found, replace(OLD, stable="new"), now=after(90)) == found


def test_without_requests_only_readiness_counts_and_the_reason_says_so() -> None:
    found = step(status("Watching"), replace(OLD, canary_ready=1, traffic=Traffic()), now=after(60))
    assert found.state == "Starting"
    assert "no request came to the new revision, so only its readiness counted" in found.reason


def test_a_canary_whose_metrics_cannot_be_read_waits_and_says_so() -> None:
    seen = replace(OLD, canary_ready=1, traffic="the metrics of pod nano-1 cannot be read")
    found = step(status("Watching"), seen, now=after(500))
    assert (found.state, found.step) == ("Watching", 1)
    assert "nano-1" in found.reason


def test_the_step_of_a_canary_that_lost_a_pod_begins_anew() -> None:
    found = step(status("Watching"), replace(OLD, canary_ready=0, traffic=QUIET), now=after(60))
    assert (found.state, found.step) == ("Starting", 1)
    assert "begins anew, as not all of the canary's pods answer" in found.reason


@pytest.mark.parametrize(
    ("traffic", "seconds", "why"),
    [
        (Traffic(100, 2), 60, "2 of 100 requests to the new revision failed, more than maxErrorRate 0.01"),
        (Traffic(6, 5), 10, "5 of 6 requests"),
        (Traffic(100, 0, {1: 50, 5: 100}), 60, "more than maxLatencyP99 1s allows"),
    ],
    ids=["errors after the interval", "clearly many errors at once", "latency"],
)
def test_a_canary_above_a_bound_is_rolled_back_and_says_why(
    traffic: Traffic, seconds: float, why: str
) -> None:
    found = step(status("Watching"), replace(OLD, canary_ready=1, traffic=traffic), now=after(seconds))
    assert (found.state, found.weight) == ("RolledBack", 0)
    assert why in found.reason
    assert canary_replicas(CANARY, found, "new", TWO) is None


@pytest.mark.parametrize(
    "traffic", [Traffic(100, 1), Traffic(1, 1), Traffic(100, 0, {1: 99.5, 5: 100})], ids=str
)
def test_within_the_bounds_or_the_interval_it_is_not(traffic: Traffic) -> None:
    seen = replace(OLD, canary_ready=1, traffic=traffic)
    assert step(status("Watching"), seen, now=after(30)).state == "Watching"


@pytest.mark.parametrize("state", ["Starting", "Watching"])
def test_a_canary_that_cannot_become_ready_is_rolled_back(state: str) -> None:
    found = step(status(state), replace(OLD, failure="a pod failed 3 times: no such model"))
    assert (found.state, found.reason) == (
        "RolledBack",
        "at step 1: a pod failed 3 times: no such model",
    )


def test_a_revision_that_was_rolled_back_is_not_tried_again() -> None:
    rolled_back = status("RolledBack")
    assert step(rolled_back, now=after(10_000)) == rolled_back
    assert not goes_everywhere(CANARY, rolled_back, "new", "old")


@pytest.mark.parametrize("state", ["Starting", "Watching", "RolledBack"])
def test_another_change_begins_anew(state: str) -> None:
    found = step(status(state), replace(OLD, newest="newer"))
    assert (found.state, found.revision, found.step) == ("Starting", "newer", 1)
    assert canary_replicas(CANARY, status(state), "newer", TWO) is None


@pytest.mark.parametrize("state", ["Starting", "Watching", "RolledBack"])
def test_a_spec_that_goes_back_to_what_serves_ends_the_rollout(state: str) -> None:
    found = step(status(state), Seen(newest="old", stable="old", settled=True))
    assert (found.state, found.revision) == ("Complete", "old")


def test_a_canary_of_a_stopped_model_waits() -> None:
    starting, none = status("Starting"), Share(replicas=0)
    assert step(starting, share=none) == starting
    assert canary_replicas(CANARY, starting, "new", none) == 0


def test_a_serving_revision_that_somebody_changed_by_hand_is_repaired_and_no_rollout() -> None:
    complete = status("Complete")
    assert goes_everywhere(CANARY, complete, "new", "old")
    assert step(complete) == complete


@pytest.mark.parametrize(
    ("share", "weight", "replicas"),
    [
        (Share(9), 10, 1),
        (Share(2), 10, 1),
        (Share(2), 50, 2),
        (Share(4), 90, 4),
        (Share(4, by_gateway=True), 50, 2),
        (Share(10, by_gateway=True), 10, 1),
        (Share(4, most=5), 50, 1),
        (Share(4, most=4), 50, 1),
        (Share(0), 50, 0),
    ],
    ids=str,
)
def test_a_canary_has_as_many_pods_as_its_share_needs_and_the_budget_allows(
    share: Share, weight: int, replicas: int
) -> None:
    assert share.canary_replicas(weight) == replicas


def test_only_a_watched_canary_is_looked_at_by_the_clock() -> None:
    assert look_again_in(CANARY, status("Starting"), NOW) is None
    assert look_again_in(CANARY, status("Watching"), NOW) == 10
    assert look_again_in(CANARY, status("Watching"), after(57)) == 3


def test_every_move_of_a_canary_is_news_once() -> None:
    assert news(status("Complete", revision="old"), status("Starting", reason="why")) == (
        "CanaryStarting",
        "revision new: why",
    )
    assert news(status("Starting"), status("Starting")) is None
    assert news(None, status("Complete")) is None
    assert news(status("Promoting"), status("Complete", reason="done")) == (
        "RolloutComplete",
        "revision new: done",
    )
    assert news(status("Watching"), status("RolledBack")) is None  # the condition Ready tells


TRAFFIC = st.one_of(
    st.none(),
    st.just("cannot be read"),
    st.builds(
        lambda good, bad: Traffic(good + bad, bad, {0.5: good}), st.integers(0, 200), st.integers(0, 20)
    ),
)
MOMENTS = st.lists(
    st.tuples(
        st.integers(0, 300),  # seconds that pass
        st.integers(0, 4),  # pods of the canary that answer
        st.sampled_from([None, None, None, "crashes"]),
        TRAFFIC,
        st.booleans(),  # whether a promotion has reached every pod
        st.booleans(),  # whether the status that was to be recorded was lost
    ),
    max_size=40,
)


@given(MOMENTS, st.integers(0, 5), st.booleans(), st.lists(st.integers(1, 99), min_size=1, unique=True))
def test_what_serves_stays_as_it_is_until_the_revision_is_promoted(
    moments: list[Any], replicas: int, by_gateway: bool, steps: list[int]
) -> None:
    rollout, share = replace_steps(sorted(steps)), Share(replicas, by_gateway)
    recorded: RolloutStatus | None = status("Complete", revision="old")
    stable, now, promoted = "old", NOW, False
    for passed, ready, failure, traffic, reached, lost in moments:
        now += timedelta(seconds=passed)
        if goes_everywhere(rollout, recorded, "new", stable):
            assert recorded is not None
            assert recorded.state in {"Promoting", "Updating", "Complete"}
            stable, promoted = "new", True
        assert promoted or stable == "old"
        seen = Seen("new", stable, stable == "new" and reached, ready, failure, traffic)
        found = next_step(rollout, recorded, seen, share, now)
        assert next_step(rollout, found, seen, share, now).revision == "new"
        if not lost:
            recorded = found
        if recorded is not None and recorded.state == "RolledBack":
            assert stable == "old"


@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=20, unique=True),
    st.integers(1, 50),
    st.integers(0, 100),
    st.booleans(),
)
def test_a_canary_that_can_come_up_is_promoted_or_rolled_back_in_the_end(
    steps: list[int], replicas: int, errors: int, by_gateway: bool
) -> None:
    rollout, share, now = replace_steps(sorted(steps)), Share(replicas, by_gateway), NOW
    recorded: RolloutStatus = status("Complete", revision="old")
    stable = "old"
    for _ in range(3 * len(steps) + 3):
        now += timedelta(seconds=60)
        stable = "new" if goes_everywhere(rollout, recorded, "new", stable) else stable
        pods = canary_replicas(rollout, recorded, "new", share) or 0
        seen = Seen("new", stable, stable == "new", pods, None, Traffic(100, errors))
        recorded = next_step(rollout, recorded, seen, share, now)
    assert (recorded.state, stable) == (("Complete", "new") if errors <= 1 else ("RolledBack", "old"))


def replace_steps(steps: list[int]) -> Rollout:
    return CANARY.model_copy(update={"steps": steps})
