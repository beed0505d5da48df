"""Argo CD, kstatus and kubectl wait come to the same verdict about every status that the operator writes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cluster_fixtures import judge
from controllable_operator.api import ControllableModel, RolloutStatus
from controllable_operator.api.rollout import RolloutState
from controllable_operator.errors import ApiError, Forbidden, InvalidSpec, OperatorError
from controllable_operator.pods import reports
from controllable_operator.status import build_status
from verdicts import DONE, FAILED, GOING, LEAVING, argo, argo_health, disagreement, kstatus, kubectl_wait

MakeModel = Callable[..., ControllableModel]
MakePod = Callable[..., dict[str, Any]]
NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NEW = {"observedGeneration": -1}  # the default of status in the definition


def crashing(reason: str, attempts: int) -> dict[str, Any]:
    words = f'{{"reason": "{reason}", "message": "no such repository"}}'
    return {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": words}},
        "restartCount": attempts - 1,
        "ready": False,
    }


NO_IMAGE = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}, "ready": False}

Life = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def life(make_model: MakeModel, make_pod: MakePod) -> Life:
    """(what happens, the verdict that is right, the model as the API server shows it then)."""

    def shown(model: ControllableModel, status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        meta = {"name": model.metadata.name, "namespace": "test", "generation": model.metadata.generation}
        return {
            "apiVersion": "serving.controllable.dev/v1alpha1",
            "kind": "ControllableModel",
            "metadata": meta | metadata,
            "spec": model.spec.to_json(),
            "status": status,
        }

    def observed(model: ControllableModel, *pods: Any, error: OperatorError | None = None) -> dict[str, Any]:
        return build_status(
            model, template_hash="new", deployments=[], pods=reports(list(pods)), error=error, now=NOW
        ).to_json()

    first, second = make_model(generation=1), make_model(generation=2)
    serving = observed(first, make_pod())

    def changed(*pods: Any, rollout: RolloutStatus | None = None) -> dict[str, Any]:
        return build_status(
            second.model_copy(update={"status": first.status}),
            template_hash="newer",
            deployments=[],
            pods=reports([make_pod(), *pods]),
            error=None,
            now=NOW,
            rollout=rollout,
        ).to_json()

    def canary(state: RolloutState) -> RolloutStatus:
        return RolloutStatus(
            revision="newer", strategy="Canary", state=state, since="2026-01-01T12:00:00Z", reason="why"
        )

    watched = changed(make_pod(template="newer"), rollout=canary("Watching"))

    def one(what: str, right: str, *pods: Any, error: OperatorError | None = None) -> tuple[str, str, Any]:
        return what, right, shown(first, observed(first, *pods, error=error))

    return [
        ("just created", GOING, shown(first, NEW)),
        one("no pods yet", GOING),
        one("fetches", GOING, make_pod("fetching")),
        one("loads", GOING, make_pod("loading")),
        one("serves", DONE, make_pod()),
        ("changed, not seen yet", GOING, shown(second, serving)),
        ("changed, old pod serves", GOING, shown(second, changed())),
        ("a canary is watched", GOING, shown(second, watched)),
        ("rolled back", FAILED, shown(second, changed(rollout=canary("RolledBack")))),
        one("fell silent", GOING, make_pod("silent")),
        one("bad image", GOING, make_pod("fetching", fetch=NO_IMAGE)),
        one("not found once", GOING, make_pod("fetching", fetch=crashing("ModelNotFound", 1))),
        one("not found for good", FAILED, make_pod("fetching", fetch=crashing("ModelNotFound", 5))),
        one("recovered", DONE, make_pod()),
        one("impossible", FAILED, error=InvalidSpec("spec.x: no")),
        one("forbidden", GOING, error=Forbidden("quota", 403)),
        one("a webhook fails", GOING, error=ApiError("webhook", 500)),
        ("scaled to zero", DONE, shown(zero := make_model(replicas=0), observed(zero))),
        ("suspended", DONE, shown(off := make_model(suspend=True), observed(off))),
        ("deleted", LEAVING, shown(first, serving, deletionTimestamp="2026-01-01T12:00:00Z")),
    ]


def test_argo_cd_is_right_about_every_turn_of_a_models_life(life: Life) -> None:
    assert {what: argo(model) for what, _, model in life} == {what: right for what, right, _ in life}


def test_kubectl_wait_returns_exactly_when_the_model_is_as_asked_for(life: Life) -> None:
    done = {what for what, _, model in life if kubectl_wait(model) == DONE}
    assert done == {what for what, right, _ in life if right == DONE}


def test_argo_cd_shows_the_operators_own_words(life: Life) -> None:
    failed = next(model for what, _, model in life if what == "not found for good")
    assert argo_health(failed)["message"] == "ModelNotFound: no such repository"


def test_argo_cd_copes_with_a_model_without_any_status(life: Life) -> None:
    bare = {key: value for key, value in life[0][2].items() if key != "status"}
    assert argo(bare) == GOING


@pytest.mark.cluster
def test_kstatus_agrees_with_the_others_about_every_turn(life: Life) -> None:
    verdicts = kstatus(judge("kstatus"), [model for _, _, model in life])
    assert dict(zip([what for what, *_ in life], verdicts, strict=True)) == {w: right for w, right, _ in life}
    found = [disagreement(model, verdict) for (*_, model), verdict in zip(life, verdicts, strict=True)]
    assert [problem for problem in found if problem] == []
