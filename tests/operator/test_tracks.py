"""Where the revisions of a model stand, by its children and pods."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.desired.config_map import config_map
from controllable_operator.desired.deployment import canary_deployment, deployment
from controllable_operator.desired.revision import Revision, controller_revision, newest_revision
from controllable_operator.rollout import Share
from controllable_operator.settings import Settings
from controllable_operator.tracks import Standing

Manifest = dict[str, Any]
MakeModel = Callable[..., ControllableModel]
MakePod = Callable[..., Manifest]


def pod_of(manifest: Manifest, make_pod: MakePod, stage: str = "ready", **containers: Any) -> Manifest:
    """A pod of a Deployment."""
    template = manifest["spec"]["template"]["metadata"]
    return make_pod(stage, **containers) | {"metadata": template | {"name": "a-pod"}}


def replacing(manifest: Manifest) -> Manifest:
    """The Deployment while it has pods of an older template."""
    return manifest | {"status": {"replicas": 2, "updatedReplicas": 1}}


@pytest.fixture
def models(make_model: MakeModel) -> tuple[ControllableModel, ControllableModel]:
    """An older and the newest generation."""
    rollout = {"strategy": "Canary"}
    return make_model(rollout=rollout), make_model(rollout=rollout, control={"trace": "full"})


@pytest.fixture
def old(models: tuple[ControllableModel, ControllableModel], settings: Settings) -> Revision:
    return newest_revision(models[0], settings)


@pytest.fixture
def standing(
    models: tuple[ControllableModel, ControllableModel], old: Revision, settings: Settings
) -> Standing:
    """The older revision serves, and nothing has been done about the newest."""
    model = models[1]
    serving = deployment(model, old.template)
    kept = [controller_revision(model, old), config_map(model, old.engine)]
    return Standing(model, newest_revision(model, settings), [serving, *kept], [], Share(1))


def test_what_serves_is_known_by_what_was_written_down_of_it(standing: Standing, old: Revision) -> None:
    assert standing.seen().stable == old.hash
    assert standing.tracks().stable == old


@pytest.mark.parametrize("harm", ["deleted", "disfigured"])
def test_it_is_known_even_if_its_deployment_is_not_what_it_was(
    standing: Standing, old: Revision, harm: str
) -> None:
    serving, *kept = copy.deepcopy(standing.children)
    serving["spec"]["template"]["metadata"]["annotations"] = {}
    harmed = kept if harm == "deleted" else [serving, *kept]
    assert replace(standing, children=harmed).tracks().stable == old


def test_a_model_of_which_nothing_was_written_down_goes_on_as_a_rolling_update(standing: Standing) -> None:
    unknown = replace(standing, children=standing.children[:1])
    assert unknown.seen().stable is None
    assert unknown.tracks().stable == standing.newest


def test_a_configuration_stays_while_a_pod_reads_it(
    standing: Standing, old: Revision, make_pod: MakePod
) -> None:
    serving, *kept = standing.children
    updated = deployment(standing.model, standing.newest.template)
    pods = [pod_of(serving, make_pod)]
    assert replace(standing, children=[updated, *kept], pods=pods).tracks().engines == {old.engine}
    assert replace(standing, children=[updated, *kept]).tracks().engines == frozenset()


def test_a_configuration_stays_while_a_deployment_may_still_make_pods_that_read_it(
    standing: Standing, old: Revision
) -> None:
    updated = replacing(deployment(standing.model, standing.newest.template))
    assert replace(standing, children=[updated, *standing.children[1:]]).tracks().engines == {old.engine}


def test_a_model_is_settled_once_all_its_pods_are_of_the_newest_revision_and_answer(
    standing: Standing, make_pod: MakePod
) -> None:
    updated = deployment(standing.model, standing.newest.template)
    older = pod_of(standing.children[0], make_pod)
    pod, loading = pod_of(updated, make_pod), pod_of(updated, make_pod, "loading")
    for pods, settled in (([pod], True), ([loading], False), ([pod, older], False), ([], False)):
        assert replace(standing, children=[updated], pods=pods).seen().settled == settled
    assert not standing.seen().settled


def test_a_canary_whose_pod_failed_three_times_has_failed(standing: Standing, make_pod: MakePod) -> None:
    canary = canary_deployment(standing.model, standing.newest.template, 1)

    def failure(restarts: int) -> str | None:
        crash = {"terminated": {"exitCode": 3, "reason": "Error"}}
        triton = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": crash}
        pod = pod_of(canary, make_pod, "loading", triton=triton | {"restartCount": restarts, "ready": False})
        return replace(standing, pods=[pod]).seen().failure

    assert failure(1) is None
    assert failure(2) == "a pod of the new revision failed 3 times: container triton exited with code 3"


def test_a_canary_that_is_not_ready_in_time_has_failed_and_an_older_one_tells_nothing(
    standing: Standing, old: Revision
) -> None:
    def failure(template: Manifest, observed: int = 2) -> str | None:
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        canary = canary_deployment(standing.model, template, 1)
        canary["metadata"]["generation"] = 2
        canary["status"] = {"observedGeneration": observed, "conditions": [late]}
        return replace(standing, children=[*standing.children, canary]).seen().failure

    assert failure(standing.newest.template) == "the pods of the new revision did not become ready in time"
    assert failure(standing.newest.template, observed=1) is None
    assert failure(old.template) is None
