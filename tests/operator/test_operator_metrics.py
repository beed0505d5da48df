"""What the operator tells of itself, and what its health probe says."""

from typing import Any

import pytest
import urllib3
from controllable_operator import handlers
from controllable_operator.client import Client
from controllable_operator.errors import ApiError
from controllable_operator.kinds import DEPLOYMENT, MODEL, SCALED_OBJECT, WATCHED_KINDS
from controllable_operator.metrics import API_REQUESTS, Fleet
from controllable_operator.operator import Operator
from controllable_operator.settings import Settings
from prometheus_client import CollectorRegistry, generate_latest


def series(fleet: Fleet) -> list[str]:
    registry = CollectorRegistry()
    registry.register(fleet)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_models_are_counted_by_phase_and_dated_by_their_last_success() -> None:
    fleet = Fleet(
        phases=lambda: ["Ready", "Failed", "Ready"],
        successes=lambda: {("ns", "a"): 17.0},
        watch_ages=lambda: {"pods": 2.5},
    )
    assert series(fleet) == [
        'controllable_operator_models{phase="Failed"} 1.0',
        'controllable_operator_models{phase="Ready"} 2.0',
        'controllable_operator_last_success_timestamp_seconds{name="a",namespace="ns"} 17.0',
        'controllable_operator_watch_age_seconds{resource="pods"} 2.5',
    ]


def test_nothing_is_left_of_a_model_that_is_gone() -> None:
    models: dict[tuple[str, str], float] = {("ns", "a"): 17.0}
    fleet = Fleet(lambda: ["Ready"] * len(models), lambda: models, dict)
    assert len(series(fleet)) == 2
    models.clear()
    assert series(fleet) == []


class Unreachable:
    """In place of the library's client: no request gets an answer."""

    def param_serialize(self, *arguments: Any, **_: Any) -> tuple[Any, ...]:
        return arguments

    def call_api(self, *_: Any, **__: Any) -> None:
        raise urllib3.exceptions.HTTPError("connection refused")


def requests(**labels: str) -> float:
    return API_REQUESTS.labels(**labels)._value.get()


def test_a_request_without_an_answer_is_counted_with_code_0() -> None:
    labels = {"verb": "get", "resource": "deployments", "code": "0"}
    before = requests(**labels)
    with pytest.raises(ApiError, match="did not answer"):
        Client(Unreachable()).get(DEPLOYMENT, "test", "nano")  # type: ignore[arg-type]
    assert requests(**labels) == before + 1


class Api(Client):
    """A client of an API server that answers, or does not."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    def served(self, api_version: str) -> set[str]:
        if not self.answers:
            raise ApiError("the API server did not answer")
        return set()


@pytest.mark.parametrize("answers", [True, False])
async def test_silent_watches_are_a_reason_to_restart_unless_the_api_server_is_silent_too(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator(Api(answers), Settings())
    assert await operator.check() == "leads"
    monkeypatch.setattr(operator.watches, "dead", lambda: ["pods"])
    if answers:
        with pytest.raises(RuntimeError, match="the watches tell nothing of pods"):
            await operator.check()
    else:
        await operator.check()


async def test_every_kind_is_watched_and_kopf_writes_nothing() -> None:
    registry = handlers.registry(Operator(Api(True), Settings()))
    watched = {
        handler.selector.any_name or handler.selector.plural for handler in registry._watching._handlers
    }
    assert {kind.plural for kind in WATCHED_KINDS} <= watched
    assert not registry._changing._handlers  # they would put finalizers and annotations on people's objects
    assert not registry._spawning._handlers
    settings = handlers.settings()
    assert (settings.peering.standalone, settings.posting.enabled) == (True, False)
    selected = settings.watching.label_selectors
    assert (DEPLOYMENT.group, DEPLOYMENT.version, DEPLOYMENT.plural) in selected
    assert (SCALED_OBJECT.group, SCALED_OBJECT.version, SCALED_OBJECT.plural) in selected
    assert (MODEL.group, MODEL.version, MODEL.plural) not in selected


def test_the_operator_never_gives_up_on_an_api_server_that_is_away() -> None:
    backoffs = iter(handlers.settings().networking.error_backoffs)  # type: ignore[arg-type]
    assert [next(backoffs) for _ in range(1000)][-1] == 10
