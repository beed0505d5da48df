"""How a changed model takes the place of the one that serves: the next state, from what is seen. Pure.

A state is recorded in the status before it is acted on. So an operator that is stopped at any moment goes on
where it was, and a revision that was rolled back stays so.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from controllable_operator.api import Rollout, RolloutStatus
from controllable_operator.api.rollout import RolloutState
from controllable_operator.api.types import seconds, timestamp
from controllable_operator.traffic import Traffic

# States in which a canary stands beside the pods that serve.
CANARY_STATES: frozenset[RolloutState] = frozenset({"Starting", "Watching", "Promoting"})
# States in which the newest revision is the one that is to serve, on all pods.
_EVERYWHERE_STATES: frozenset[RolloutState] = frozenset({"Updating", "Promoting", "Complete"})

_EVENTS: dict[RolloutState, str] = {
    "Starting": "CanaryStarting",
    "Watching": "CanaryWatched",
    "Promoting": "CanaryPromoted",
    "Complete": "RolloutComplete",
}

# How often the canary's metrics are looked at. One failed request may be an accident until the interval is
# over; so many, above the bound, are not.
_LOOK_SECONDS = 10.0
_CLEAR_ERRORS = 5


@dataclass(frozen=True)
class Seen:
    """What is so in the cluster.

    newest: revision that the spec asks for.
    stable: revision of the pods that serve; None where there are none yet, or nobody knows of what.
    settled: every pod that is to serve is of the newest revision and does, and none of an older one is left.
    canary_ready: pods of the canary that answer, of the newest revision.
    failure: why the canary can't be ready, None if nothing keeps it from that.
    traffic: requests to the canary in this step; a text that says why they can't be told, None if not asked.
    """

    newest: str
    stable: str | None
    settled: bool
    canary_ready: int = 0
    failure: str | None = None
    traffic: Traffic | str | None = None


@dataclass(frozen=True)
class Share:
    """How a canary gets its share of the requests.

    replicas: pods that serve. by_gateway: by weight, else by number of pods. most: pods there may be in all,
    None without a limit; one more than asked for there may always be, as in a rolling update.
    """

    replicas: int
    by_gateway: bool = False
    most: int | None = None

    def canary_replicas(self, weight: int) -> int:
        """Pods that a canary with this percent of the requests needs."""
        fraction = weight / 100
        if not self.by_gateway:
            fraction = min(1.0, weight / (100 - weight))
        # Less a hair: 0.1 / 0.9 * 9 is more than 1 by rounding.
        wanted = math.ceil(self.replicas * fraction - 1e-9)
        return wanted if self.most is None else min(wanted, max(1, self.most - self.replicas))


def goes_everywhere(
    rollout: Rollout, recorded: RolloutStatus | None, newest: str, stable: str | None
) -> bool:
    """Whether the pods that serve are to be of the newest revision, and not stay as they are."""
    if rollout.strategy == "RollingUpdate" or stable is None or stable == newest:
        return True
    if recorded is None:
        return False
    if recorded.revision == stable and recorded.state == "Updating":
        return True  # it never served on all pods, so there is nothing to keep
    return recorded.revision == newest and recorded.state in _EVERYWHERE_STATES


def canary_replicas(
    rollout: Rollout, recorded: RolloutStatus | None, newest: str, share: Share
) -> int | None:
    """How many pods the canary is to have, None where there is to be none."""
    if recorded is None or recorded.revision != newest or recorded.state not in CANARY_STATES:
        return None
    if rollout.strategy != "Canary" and recorded.state != "Promoting":
        return None
    return share.canary_replicas(_weight(rollout, recorded.step))


def next_step(
    rollout: Rollout, recorded: RolloutStatus | None, seen: Seen, share: Share, now: datetime
) -> RolloutStatus:
    """What to record next; equal to `recorded` while nothing moves."""
    before = recorded if recorded and recorded.revision == seen.newest else None
    if goes_everywhere(rollout, recorded, seen.newest, seen.stable):
        return _everywhere(rollout, before, seen, now)
    if before is None or before.state not in (*CANARY_STATES, "RolledBack"):
        return _start(rollout, seen.newest, 1, 0, "the new revision starts beside the one that serves", now)
    if before.state == "RolledBack":
        return before
    if seen.failure:
        return _rolled_back(before, seen.failure, now)
    ready = 0 < share.canary_replicas(_weight(rollout, before.step)) <= seen.canary_ready
    if before.state == "Starting":
        return _watch(rollout, before, now) if ready else before
    return _judge(rollout, before, seen, ready, now)


def look_again_in(rollout: Rollout, status: RolloutStatus, now: datetime) -> float | None:
    """Seconds after which time alone may change something, None if only an event can."""
    if status.state != "Watching":
        return None
    left = seconds(rollout.interval) - _age(status, now)
    return min(_LOOK_SECONDS, left) if left > 0 else _LOOK_SECONDS


def news(before: RolloutStatus | None, after: RolloutStatus | None) -> tuple[str, str] | None:
    """Reason and message of an Event about a canary's progress; a condition tells that it was rolled back."""
    if after is None or after.strategy != "Canary" or after.state not in _EVENTS:
        return None
    if before and (before.revision, before.state, before.step) == (after.revision, after.state, after.step):
        return None
    if after.state == "Complete" and (before is None or before.state != "Promoting"):
        return None
    return _EVENTS[after.state], f"revision {after.revision}: {after.reason}"


def _everywhere(rollout: Rollout, before: RolloutStatus | None, seen: Seen, now: datetime) -> RolloutStatus:
    done = before is not None and before.state == "Complete"
    if before is not None and (done or (not seen.settled and before.state in ("Updating", "Promoting"))):
        return before
    promoted = before is not None and before.state == "Promoting"
    return RolloutStatus(
        revision=seen.newest,
        strategy="Canary" if promoted else rollout.strategy,
        state="Complete" if seen.settled else "Updating",
        step=before.step if before and promoted else 0,
        weight=100 if seen.settled else 0,
        since=timestamp(now),
        reason="every pod is of this revision" if seen.settled else "pods are replaced one after the other",
    )


def _start(rollout: Rollout, revision: str, step: int, weight: int, why: str, now: datetime) -> RolloutStatus:
    reason = f"step {step} of {len(rollout.steps)}, {_weight(rollout, step)} %: {why}"
    return RolloutStatus(
        revision=revision,
        strategy="Canary",
        state="Starting",
        step=step,
        weight=weight,
        since=timestamp(now),
        reason=reason,
    )


def _watch(rollout: Rollout, before: RolloutStatus, now: datetime) -> RolloutStatus:
    weight = _weight(rollout, before.step)
    reason = f"step {before.step} of {len(rollout.steps)}, {weight} %: watched for {rollout.interval}"
    return _moved(before, "Watching", reason, now, weight)


def _judge(rollout: Rollout, before: RolloutStatus, seen: Seen, ready: bool, now: datetime) -> RolloutStatus:
    over = _age(before, now) >= seconds(rollout.interval)
    traffic = seen.traffic
    if isinstance(traffic, Traffic) and (fault := _fault(rollout, traffic, over)):
        return _rolled_back(before, fault, now)
    if not over:
        return before
    step = f"step {before.step} of {len(rollout.steps)}, {before.weight} %"
    if not ready:
        # What was seen meanwhile was not what is to be judged: the step begins anew.
        reason = f"{step}: begins anew, as not all of the canary's pods answer"
        return _moved(before, "Starting", reason, now, before.weight)
    if not isinstance(traffic, Traffic):
        told = traffic or "its metrics have not been read"
        return before.model_copy(update={"reason": f"{step}: waits, as it can't be judged: {told}"})
    if before.step >= len(rollout.steps):
        return _moved(before, "Promoting", f"{_found(traffic)}: every pod is replaced", now, before.weight)
    return _start(rollout, before.revision, before.step + 1, before.weight, _found(traffic), now)


def _fault(rollout: Rollout, traffic: Traffic, over: bool) -> str | None:
    """What is wrong with the canary's answers, if that is certain enough."""
    certain = over or traffic.errors >= _CLEAR_ERRORS
    if certain and traffic.error_rate > float(rollout.max_error_rate):
        return (
            f"{traffic.errors} of {traffic.requests} requests to the new revision failed, "
            f"more than maxErrorRate {rollout.max_error_rate} allows"
        )
    slow = traffic.latency_p99
    if over and rollout.max_latency_p99 and slow is not None and slow > seconds(rollout.max_latency_p99):
        return (
            f"the new revision's P99 latency is {slow * 1000:.0f}ms over {traffic.requests} requests, "
            f"more than maxLatencyP99 {rollout.max_latency_p99} allows"
        )
    return None


def _found(traffic: Traffic) -> str:
    if not traffic.requests:
        return "no request came to the new revision, so only its readiness counted"
    return f"{traffic.errors} of {traffic.requests} requests to the new revision failed"


def _rolled_back(before: RolloutStatus, why: str, now: datetime) -> RolloutStatus:
    return _moved(before, "RolledBack", f"at step {before.step}: {why}"[:1024], now, 0)


def _moved(
    before: RolloutStatus, state: RolloutState, reason: str, now: datetime, weight: int
) -> RolloutStatus:
    change = {"state": state, "reason": reason, "since": timestamp(now), "weight": weight}
    return before.model_copy(update=change)


def _weight(rollout: Rollout, step: int) -> int:
    # The list may have become shorter meanwhile.
    return rollout.steps[min(step, len(rollout.steps)) - 1]


def _age(status: RolloutStatus, now: datetime) -> float:
    return (now - datetime.fromisoformat(status.since)).total_seconds()
