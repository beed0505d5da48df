"""What the status says about a model, from what its pods say."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from controllable_operator.api import Condition, ControllableModel, RolloutStatus, Status
from controllable_operator.errors import Forbidden, InvalidSpec, NameConflict, OperatorError
from controllable_operator.events import events_for
from controllable_operator.pods import reports
from controllable_operator.status import build_status

MakeModel = Callable[..., ControllableModel]
MakePod = Callable[..., dict[str, Any]]
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 1, 1, 13, 0, tzinfo=UTC)


@pytest.fixture
def observe(make_model: MakeModel) -> Callable[..., Status]:
    def observe(
        *pods: dict[str, Any],
        model: ControllableModel | None = None,
        error: OperatorError | None = None,
        deployment: dict[str, Any] | None = None,
        rollout: RolloutStatus | None = None,
        now: datetime = NOW,
    ) -> Status:
        return build_status(
            model or make_model(),
            template_hash="new",
            deployments=[deployment] if deployment else [],
            pods=reports(list(pods)),
            error=error,
            now=now,
            rollout=rollout,
        )

    return observe


def condition(status: Status, kind: str) -> Condition | None:
    return next((c for c in status.conditions or [] if c.type == kind), None)


def verdict(status: Status, kind: str = "Ready") -> tuple[str, str]:
    found = condition(status, kind)
    assert found is not None
    return found.status, found.reason


def ended(message: str = "", code: int = 1, attempts: int = 1, reason: str = "Error") -> dict[str, Any]:
    """A container that ended and waits to be started again."""
    return {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason, "message": message}},
        "restartCount": attempts - 1,
        "ready": False,
    }


def own_words(reason: str, message: str) -> str:
    return json.dumps({"reason": reason, "message": message})


# --- on the way to being ready


def test_without_pods_the_model_progresses(observe: Callable[..., Status]) -> None:
    status = observe()
    assert verdict(status) == ("False", "Progressing")
    assert verdict(status, "ModelLoaded") == ("False", "NoPods")
    assert status.phase == "Pending"


@pytest.mark.parametrize(
    ("stage", "loaded", "phase"),
    [
        ("pending", "Pending", "Pending"),
        ("fetching", "Fetching", "Fetching"),
        ("loading", "Loading", "Loading"),
    ],
)
def test_the_phase_tells_how_far_the_pod_got(
    observe: Callable[..., Status], make_pod: MakePod, stage: str, loaded: str, phase: str
) -> None:
    status = observe(make_pod(stage))
    assert verdict(status) == ("False", "Progressing")
    assert verdict(status, "ModelLoaded") == ("False", loaded)
    assert status.phase == phase


def test_a_pod_that_answers_makes_the_model_ready(observe: Callable[..., Status], make_pod: MakePod) -> None:
    status = observe(make_pod("ready"))
    assert verdict(status) == ("True", "Serving")
    assert verdict(status, "ModelLoaded") == ("True", "Loaded")
    assert condition(status, "Stalled") is None
    assert (status.phase, status.replicas, status.ready_replicas, status.observed_generation) == (
        "Ready",
        1,
        1,
        1,
    )
    assert status.endpoints is not None
    assert status.endpoints.openai == "http://nano.test.svc/v1"


# --- rollouts and scale


def test_a_pod_of_an_older_generation_does_not_make_the_new_one_ready(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("ready", template="old"), make_pod("loading"))
    assert verdict(status) == ("False", "Progressing")
    assert (status.phase, status.replicas, status.ready_replicas) == ("Updating", 2, 1)


def test_while_older_pods_are_left_the_model_is_not_ready(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("ready"), make_pod("ready", template="old"))
    assert verdict(status) == ("False", "Progressing")
    assert status.phase == "Updating"


def rollout(state: str, reason: str = "why") -> RolloutStatus:
    document = {"revision": "new", "strategy": "Canary", "state": state, "step": 1, "reason": reason}
    return RolloutStatus.model_validate(document | {"since": "2026-01-01T00:00:00Z"})


def test_a_canary_makes_no_model_ready_however_many_of_its_pods_answer(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    pods = [make_pod("ready"), make_pod("ready", template="old")]
    status = observe(*pods, rollout=rollout("Watching", "step 1 of 2, 10 %: watched for 2m"))
    assert verdict(status) == ("False", "Progressing")
    found = condition(status, "Ready")
    assert found is not None
    assert found.message == "canary, step 1 of 2, 10 %: watched for 2m"
    assert condition(status, "Stalled") is None


def test_a_model_that_was_rolled_back_is_stalled_and_says_why(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    told = rollout("RolledBack", "at step 1: 3 of 4 requests failed")
    status = observe(make_pod("ready", template="old"), rollout=told)
    assert verdict(status) == ("False", "RolledBack")
    assert verdict(status, "Stalled") == ("True", "RolledBack")
    found = condition(status, "Stalled")
    assert found is not None
    assert found.message.startswith("at step 1: 3 of 4 requests failed; the revision before it serves")
    assert status.phase == "RolledBack"
    assert status.rollout == told


def test_fewer_pods_than_asked_for_are_not_ready(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    status = observe(make_pod("ready"), make_pod("loading"), model=make_model(replicas=2))
    assert verdict(status) == ("False", "Progressing")
    assert status.phase == "Degraded"


def test_a_suspended_model_is_ready_on_purpose_and_says_what_comes_back(
    observe: Callable[..., Status], make_model: MakeModel
) -> None:
    status = observe(model=make_model(replicas=3, suspend=True))
    assert status.phase == "Suspended"
    assert verdict(status) == ("True", "Suspended")
    assert verdict(status, "ModelLoaded") == ("False", "Suspended")
    assert "3 pods start" in str(condition(status, "Ready"))


def test_it_is_told_where_the_gpus_allow_fewer_pods_than_asked_for(
    observe: Callable[..., Status], make_model: MakeModel, make_pod: MakePod
) -> None:
    model = make_model(replicas=5, gpu={"count": 1}, scaling={"maxGPUs": 1})
    status = observe(make_pod("ready"), model=model)
    assert verdict(status) == ("True", "Serving")
    assert "allows no more of the 5 asked for" in str(condition(status, "Ready"))


def test_what_was_told_of_the_children_stays_while_they_cannot_be_looked_at(
    observe: Callable[..., Status], make_model: MakeModel
) -> None:
    model = make_model()
    further = {"ScalingActive": (True, "Active", "m")}
    before = build_status(
        model, template_hash=None, deployments=[], pods=[], error=None, now=NOW, further=further
    )
    after = observe(model=model.model_copy(update={"status": before}), error=InvalidSpec("x"), now=LATER)
    assert condition(after, "ScalingActive") == condition(before, "ScalingActive")


def test_zero_replicas_on_purpose_is_ready(observe: Callable[..., Status], make_model: MakeModel) -> None:
    status = observe(model=make_model(replicas=0))
    assert verdict(status) == ("True", "ScaledToZero")
    assert verdict(status, "ModelLoaded") == ("False", "ScaledToZero")
    assert status.phase == "ScaledToZero"


def test_pods_that_are_about_to_go_or_gone_do_not_count(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    leaving, evicted = make_pod("ready"), make_pod("ready")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    evicted["status"]["phase"] = "Failed"
    assert observe(leaving, evicted).replicas == 0


# --- what can go wrong


def test_a_model_that_is_not_there_is_told_in_the_words_of_fetch(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    pod = make_pod("fetching", fetch=ended(own_words("ModelNotFound", "hf://a/b: no such repository")))
    status = observe(pod)
    assert verdict(status) == ("False", "ModelNotFound")
    assert verdict(status, "ModelLoaded") == ("False", "LoadFailed")
    ready = condition(status, "Ready")
    assert ready is not None
    assert ready.message == "hf://a/b: no such repository"


def test_a_model_that_does_not_load_is_told_in_the_words_of_the_engine(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(
        make_pod("loading", triton=ended(own_words("ModelLoadFailed", "config.json: no vocab_size")))
    )
    assert verdict(status) == ("False", "ModelLoadFailed")
    assert verdict(status, "ModelLoaded") == ("False", "LoadFailed")


def test_a_failure_stays_told_while_the_container_is_tried_again(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    failed = ended(own_words("ModelLoadFailed", "broken"))
    running = failed | {"state": {"running": {"startedAt": "2026-01-01T00:03:00Z"}}, "restartCount": 1}
    assert observe(make_pod("loading", triton=failed)) == observe(make_pod("loading", triton=running))


@pytest.mark.parametrize(("attempts", "stalled"), [(1, False), (2, False), (3, True)])
def test_after_three_attempts_the_model_is_stalled(
    observe: Callable[..., Status], make_pod: MakePod, attempts: int, stalled: bool
) -> None:
    failed = ended(own_words("ModelNotFound", "gone"), attempts=attempts)
    status = observe(make_pod("fetching", fetch=failed))
    assert (condition(status, "Stalled") is not None) == stalled
    assert (status.phase == "Failed") == stalled


def with_fetch_of_law(pod: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The pod, with a second container that fetches: the adapter's."""
    status = {"name": "fetch-law", "image": "x", "lastState": {}, "restartCount": 0} | state
    pod["status"]["initContainerStatuses"].append(status)
    return pod


def test_while_an_adapter_is_on_its_way_the_pod_fetches(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    pod = with_fetch_of_law(make_pod("loading"), {"state": {"running": {}}})
    assert observe(pod).phase == "Fetching"
    done = with_fetch_of_law(make_pod("loading"), {"state": {"terminated": {"exitCode": 0}}})
    assert observe(done).phase == "Loading"


def test_an_adapter_that_is_not_there_is_told_as_the_model_would_be(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    words = "adapter law: hf://a/b: no such repository"
    status = observe(with_fetch_of_law(make_pod("loading"), ended(own_words("ModelNotFound", words))))
    assert verdict(status) == ("False", "ModelNotFound")
    ready = condition(status, "Ready")
    assert ready is not None
    assert ready.message == words


def test_a_failed_fetch_is_told_in_its_own_words_and_may_pass(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    words = own_words("ModelFetchFailed", "s3://models/nano: the disk of /weights is full; raise …")
    status = observe(make_pod("fetching", fetch=ended(words, attempts=9)))
    assert verdict(status) == ("False", "ModelFetchFailed")
    assert message(status).startswith("s3://models/nano: the disk of /weights is full")
    assert condition(status, "Stalled") is None


def fetched(**facts: Any) -> dict[str, Any]:
    said = json.dumps({"reason": "Fetched", "message": "hf://org/repo"} | facts)
    return {"state": {"terminated": {"exitCode": 0, "message": said}}}


def test_what_was_fetched_is_told_with_its_digest(observe: Callable[..., Status], make_pod: MakePod) -> None:
    status = observe(make_pod("ready", fetch=fetched(digest="sha256:1", size=5)))
    assert status.to_json()["model"] == {"digest": "sha256:1", "bytes": 5}


@pytest.mark.parametrize("facts", [{"digest": None, "size": None}, {}, {"digest": "sha256:1", "size": "x"}])
def test_a_model_that_is_only_mounted_has_no_digest(
    observe: Callable[..., Status], make_pod: MakePod, facts: dict[str, Any]
) -> None:
    assert observe(make_pod("ready", fetch=fetched(**facts))).model is None


def test_a_container_without_words_is_explained_by_the_end_of_its_log(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("fetching", fetch=ended("Traceback…\nOSError: no space left on device")))
    assert verdict(status) == ("False", "ModelFetchFailed")
    ready = condition(status, "Ready")
    assert ready is not None
    assert "no space left on device" in ready.message


@pytest.mark.parametrize(
    "message", ["{", "[]", "null", '{"reason": "Two words", "message": "x"}', '{"reason": "X"}']
)
def test_a_malformed_termination_message_is_only_text(
    observe: Callable[..., Status], make_pod: MakePod, message: str
) -> None:
    assert verdict(observe(make_pod("fetching", fetch=ended(message)))) == ("False", "ModelFetchFailed")


def test_running_out_of_memory_says_which_field_to_raise(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("loading", triton=ended(code=137, reason="OOMKilled")))
    assert verdict(status, "ModelLoaded") == ("False", "EngineDead")
    ready = condition(status, "Ready")
    assert ready is not None
    assert "spec.serving.resources.limits.memory" in ready.message


def message(status: Status) -> str:
    ready = condition(status, "Ready")
    assert ready is not None
    return ready.message


UP_AGAIN = {"state": {"running": {"startedAt": "2026-01-01T00:03:00Z"}}, "restartCount": 1}
OUT_OF_MEMORY = ended(code=137, reason="OOMKilled")


def test_what_a_container_that_is_up_again_died_of_hides_no_failure(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    failed = ended(own_words("ModelLoadFailed", "config.json: no vocab_size"))
    status = observe(make_pod("loading", triton=failed, frontend=OUT_OF_MEMORY | UP_AGAIN))
    assert verdict(status) == ("False", "ModelLoadFailed")
    assert message(status) == "config.json: no vocab_size"


@pytest.mark.parametrize("name", ["triton", "frontend"])
def test_a_container_that_is_up_again_is_no_problem(
    observe: Callable[..., Status], make_pod: MakePod, name: str
) -> None:
    status = observe(make_pod("loading", **{name: OUT_OF_MEMORY | UP_AGAIN}))
    assert verdict(status) == ("False", "Progressing")
    assert verdict(status, "ModelLoaded") == ("False", "Loading")


def test_an_engine_that_loaded_in_the_end_is_not_blamed_for_failing_before(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    before = {"lastState": ended(own_words("ModelLoadFailed", "broken"))["lastState"], "restartCount": 1}
    status = observe(make_pod("silent", triton=before))
    assert verdict(status, "ModelLoaded") == ("False", "EngineDead")
    assert "broken" not in message(status)


@pytest.mark.parametrize("down", ["triton", "frontend"])
def test_of_several_containers_that_are_down_the_one_with_the_worst_problem_is_told(
    observe: Callable[..., Status], make_pod: MakePod, down: str
) -> None:
    other = {"triton": "frontend", "frontend": "triton"}[down]
    words = ended(own_words("ModelLoadFailed", f"{down} says why"))
    assert message(observe(make_pod("loading", **{down: words, other: ended()}))) == f"{down} says why"


def test_an_engine_that_is_down_is_told_before_the_frontend(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("loading", triton=ended("a log"), frontend=ended()))
    assert message(status) == "container triton exited with code 1: a log"
    assert verdict(status, "ModelLoaded") == ("False", "EngineDead")


def test_a_frontend_without_memory_is_not_a_matter_of_the_models_limit(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("loading", frontend=OUT_OF_MEMORY))
    assert message(status) == "container frontend was killed because it ran out of memory"
    assert verdict(status, "ModelLoaded") == ("False", "PodsNotReady")


def test_a_fetch_that_is_done_again_after_a_restart_of_the_node_is_no_problem(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    done = {"lastState": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "restartCount": 1}
    assert verdict(observe(make_pod("fetching", fetch=done))) == ("False", "Progressing")


def test_a_pod_that_answered_and_does_so_no_more_has_a_dead_engine(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    status = observe(make_pod("silent"))
    assert verdict(status) == ("False", "PodsNotReady")
    assert verdict(status, "ModelLoaded") == ("False", "EngineDead")
    assert status.phase == "Degraded"


def test_a_pod_that_recovered_is_ready(observe: Callable[..., Status], make_pod: MakePod) -> None:
    pod = make_pod("ready", triton={"lastState": {"terminated": {"exitCode": 137}}, "restartCount": 4})
    assert verdict(observe(pod)) == ("True", "Serving")


def test_fetch_that_succeeded_on_the_second_try_is_no_problem(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    pod = make_pod("loading", fetch={"lastState": {"terminated": {"exitCode": 1}}, "restartCount": 1})
    assert verdict(observe(pod)) == ("False", "Progressing")


def test_an_image_that_cannot_be_pulled_is_named_and_told_in_one_way(
    observe: Callable[..., Status], make_pod: MakePod
) -> None:
    first = {"reason": "ErrImagePull", "message": "not found"}
    then = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x": ErrImagePull: not found'}
    statuses = [
        observe(make_pod("fetching", fetch={"image": "x", "state": {"waiting": waiting}}))
        for waiting in (first, then)
    ]
    assert verdict(statuses[0]) == ("False", "ImagePullFailed")
    assert statuses[0] == statuses[1]


def test_a_missing_secret_is_told(observe: Callable[..., Status], make_pod: MakePod) -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "hf-token" not found'}
    status = observe(make_pod("fetching", fetch={"state": {"waiting": waiting}}))
    assert verdict(status) == ("False", "ModelNotFound")
    ready = condition(status, "Ready")
    assert ready is not None
    assert 'secret "hf-token" not found' in ready.message


def test_no_room_is_told_in_the_schedulers_words(observe: Callable[..., Status], make_pod: MakePod) -> None:
    pod = make_pod(
        "pending", scheduled={"reason": "Unschedulable", "message": "0/1 nodes: Insufficient nvidia.com/gpu"}
    )
    status = observe(pod)
    assert verdict(status) == ("False", "InsufficientCapacity")
    ready = condition(status, "Ready")
    assert ready is not None
    assert "nvidia.com/gpu" in ready.message


@pytest.mark.parametrize(
    ("then", "is_news"),
    [
        (
            "0/6 nodes are available: 2 node(s) had taints, 4 Insufficient nvidia.com/gpu. preemption: no.",
            False,
        ),
        ("0/5 nodes are available: 5 Insufficient nvidia.com/gpu. preemption: no.", True),
    ],
)
def test_how_many_nodes_have_no_room_is_no_news_but_what_is_in_the_way_is(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel, then: str, is_news: bool
) -> None:
    def waiting(message: str, previous: Status | None = None) -> tuple[ControllableModel, Status]:
        pod = make_pod("pending", scheduled={"reason": "Unschedulable", "message": message})
        model = make_model().model_copy(update={"status": previous or Status()})
        return model, observe(pod, model=model)

    first = "0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) had taints. preemption: no."
    _, before = waiting(first)
    model, after = waiting(then, before)
    assert (after != before) == is_news
    assert bool(events_for(model, after, LATER)) == is_news
    for kind in ("Ready", "ModelLoaded"):
        found = condition(after, kind)
        assert found is not None
        assert found.message == (then if is_news else first)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("pods is forbidden: exceeded quota: q", "InsufficientCapacity"),
        ("violates PodSecurity", "PodsNotReady"),
    ],
)
def test_a_deployment_that_may_not_make_pods_says_why(
    observe: Callable[..., Status], message: str, reason: str
) -> None:
    status = observe(deployment={"status": {"conditions": [refused(message)]}})
    assert verdict(status) == ("False", reason)


def test_what_a_quota_refuses_is_told_alike_at_each_try(observe: Callable[..., Status]) -> None:
    told = set()
    for pod in ("nano-1a-x7f2k", "nano-1a-b9k4z"):
        message = (
            f'pods "{pod}" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
        )
        status = observe(deployment={"status": {"conditions": [refused(message)]}})
        told |= {c.message for c in status.conditions or [] if c.type == "Ready"}
    (message,) = told
    assert "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2; ask for fewer" in message


def refused(message: str) -> dict[str, str]:
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}


# --- errors of the operator itself, and what may be trusted


@pytest.mark.parametrize("error", [InvalidSpec("spec.x: is wrong"), NameConflict("Service nano exists")])
def test_what_only_a_person_can_mend_is_stalled_and_counts_as_observed(
    observe: Callable[..., Status], make_model: MakeModel, error: OperatorError
) -> None:
    status = observe(model=make_model(generation=7), error=error)
    assert verdict(status) == ("False", error.reason)
    assert verdict(status, "Stalled") == ("True", error.reason)
    assert status.observed_generation == 7


def test_observed_generation_does_not_move_before_the_generation_was_applied(
    observe: Callable[..., Status], make_model: MakeModel
) -> None:
    before = make_model(generation=6)
    model = make_model(generation=7).model_copy(update={"status": observe(model=before)})
    status = observe(model=model, error=Forbidden("no", 403))
    assert status.observed_generation == 6
    assert verdict(status) == ("False", "Forbidden")


def test_a_condition_carries_the_generation_it_is_about(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    status = observe(make_pod("ready"), model=make_model(generation=7))
    assert [c.observed_generation for c in status.conditions or []] == [7, 7]


def test_transition_time_is_kept_while_the_status_of_a_condition_is_the_same(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    first = observe(make_pod("fetching"))
    model = make_model().model_copy(update={"status": first})
    loading, ready = (observe(make_pod(stage), model=model, now=LATER) for stage in ("loading", "ready"))
    assert condition(loading, "Ready").last_transition_time == "2026-01-01T12:00:00Z"  # type: ignore[union-attr]
    assert condition(ready, "Ready").last_transition_time == "2026-01-01T13:00:00Z"  # type: ignore[union-attr]


def test_observing_the_same_again_gives_the_same_status(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    first = observe(make_pod("ready"))
    model = make_model().model_copy(update={"status": first})
    assert observe(make_pod("ready"), model=model, now=LATER) == first


# --- Events


def test_becoming_ready_is_news_and_staying_ready_is_none(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    ready = observe(make_pod("ready"))
    (event,) = events_for(make_model(), ready, NOW)
    assert (event["type"], event["reason"]) == ("Normal", "Serving")
    assert not events_for(make_model().model_copy(update={"status": ready}), ready, NOW)


def test_progress_is_no_news(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    assert not events_for(make_model(), observe(make_pod("loading")), NOW)


def test_the_same_failure_has_the_same_event(
    observe: Callable[..., Status], make_pod: MakePod, make_model: MakeModel
) -> None:
    failed = observe(make_pod("fetching", fetch=ended(own_words("ModelNotFound", "gone"))))
    (first,), (again,) = (events_for(make_model(), failed, now) for now in (NOW, LATER))
    assert first["type"] == "Warning"
    assert first["metadata"] == again["metadata"]
