"""spec.podTemplate over the operator's own pod template."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.desired.common import TEMPLATE_HASH
from controllable_operator.errors import InvalidSpec
from controllable_operator.settings import Settings
from controllable_operator.strategic_merge import merged
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

MakeModel = Callable[..., ControllableModel]

BASE: dict[str, Any] = {
    "containers": [
        {
            "name": "a",
            "args": ["serve"],
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
            "ports": [{"containerPort": 80, "name": "http"}],
            "livenessProbe": {"exec": {"command": ["true"]}},
        },
        {"name": "b"},
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "tolerations": [{"key": "gpu"}],
    "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
}
A, B = BASE["containers"]


def first(**changes: Any) -> dict[str, Any]:
    """The base, after a change of container a."""
    return {"containers": [A | changes, B]}


def a(**patch: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a"} | patch]}


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"priorityClassName": "high"}, {"priorityClassName": "high"}),
        ({"containers": [{"name": "c", "image": "i"}]}, {"containers": [A, B, {"name": "c", "image": "i"}]}),
        ({"containers": [{"name": "b", "$patch": "delete"}]}, {"containers": [A]}),
        (a(args=["other"]), first(args=["other"])),
        (a(env=[{"name": "X", "value": "9"}]), first(env=[{"name": "X", "value": "9"}, A["env"][1]])),
        (
            a(env=[{"name": "X", "valueFrom": {"fieldRef": {}}}]),
            first(env=[{"name": "X", "valueFrom": {"fieldRef": {}}}, A["env"][1]]),
        ),
        (
            a(ports=[{"containerPort": 81}]),
            first(ports=[{"containerPort": 80, "name": "http"}, {"containerPort": 81}]),
        ),
        (
            a(livenessProbe={"$patch": "delete"}),
            {"containers": [{k: v for k, v in A.items() if k != "livenessProbe"}, B]},
        ),
        (a(livenessProbe=None), {"containers": [{k: v for k, v in A.items() if k != "livenessProbe"}, B]}),
        (
            {"volumes": [{"name": "tmp", "hostPath": {"path": "/"}}]},
            {"volumes": [{"name": "tmp", "hostPath": {"path": "/"}}]},
        ),
        ({"volumes": [{"name": "v"}]}, {"volumes": [*BASE["volumes"], {"name": "v"}]}),
        ({"tolerations": [{"key": "spot"}]}, {"tolerations": [{"key": "gpu"}, {"key": "spot"}]}),
        ({"tolerations": [{"key": "gpu"}]}, {}),
        ({"securityContext": {"runAsUser": 7}}, {"securityContext": {"runAsUser": 7, "runAsNonRoot": True}}),
        ({"securityContext": {"$patch": "replace", "runAsUser": 7}}, {"securityContext": {"runAsUser": 7}}),
        ({"hostAliases": [{"ip": "10.0.0.1"}]}, {"hostAliases": [{"ip": "10.0.0.1"}]}),
    ],
    ids=str,
)  # fmt: skip
def test_a_patch_changes_what_it_names_and_nothing_else(
    patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    before = copy.deepcopy(BASE)
    assert merged(BASE, patch, "spec") == BASE | changed
    assert before == BASE


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"containers": {"a": {}}}, "spec.containers: must be a list"),
        ({"containers": [{"image": "x"}]}, r"spec.containers\[0\]: needs a name"),
        (a(env=["X=1"]), r"spec.containers\[0\].env\[0\]: needs a name"),
        ({"containers": [{"name": "new", "ports": [{}]}]}, r"ports\[0\]: needs a containerPort"),
        ({"securityContext": "strict"}, "spec.securityContext: must be an object"),
        ({"securityContext": {"$patch": "drop"}}, r"securityContext.\$patch: 'drop' is not known"),
        ({"tolerations": {}}, "spec.tolerations: must be a list"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_its_place(patch: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merged(BASE, patch, "spec")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["containers", "env", "name", "tolerations", "x"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@hypothesis_settings(deadline=None)  # these tests run on busy machines
@given(patch=st.dictionaries(st.sampled_from(["containers", "volumes", "tolerations", "x"]), JSON))
def test_whatever_somebody_writes_is_merged_or_refused(patch: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        once = merged(BASE, patch, "spec")
        assert merged(once, patch, "spec") == once


# --- in the Deployment --------------------------------------------------------------------------------------


def template(model: ControllableModel, settings: Settings) -> dict[str, Any]:
    children = {child["kind"]: child for child in desired(model, settings, Cluster())}
    return dict(children["Deployment"]["spec"]["template"])


def test_the_pod_template_reaches_the_pods_and_makes_new_ones(
    make_model: MakeModel, settings: Settings
) -> None:
    custom = {"metadata": {"labels": {"team": "a"}}, "spec": {"priorityClassName": "high"}}
    before = template(make_model(), settings)
    after = template(make_model(podTemplate=custom), settings)
    assert after["metadata"]["labels"] == before["metadata"]["labels"] | {"team": "a"}
    assert after["spec"] == before["spec"] | {"priorityClassName": "high"}
    assert after["metadata"]["annotations"][TEMPLATE_HASH] != before["metadata"]["annotations"][TEMPLATE_HASH]


def test_an_empty_pod_template_changes_nothing(make_model: MakeModel, settings: Settings) -> None:
    assert template(make_model(podTemplate={"spec": {}}), settings) == template(make_model(), settings)


@pytest.mark.parametrize(
    ("spec", "lost"),
    [
        ({"containers": [{"name": "triton", "$patch": "delete"}]}, "containers: triton must stay"),
        ({"initContainers": None}, "initContainers: fetch must stay"),
        ({"$patch": "replace", "nodeName": "x"}, "initContainers: fetch must stay"),
    ],
)
def test_without_the_operators_containers_nothing_is_served(
    make_model: MakeModel, settings: Settings, spec: dict[str, Any], lost: str
) -> None:
    with pytest.raises(InvalidSpec, match=rf"spec\.podTemplate\.spec\.{lost}"):
        template(make_model(podTemplate={"spec": spec}), settings)


def test_replicas_are_spread_over_nodes_where_that_can_be(make_model: MakeModel, settings: Settings) -> None:
    (spread,) = template(make_model(), settings)["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
    )
    mine = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    custom = {"spec": {"topologySpreadConstraints": [mine]}}
    (spread,) = template(make_model(podTemplate=custom), settings)["spec"]["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "nano"


def test_several_replicas_have_a_disruption_budget(make_model: MakeModel, settings: Settings) -> None:
    def kinds(**spec: Any) -> set[str]:
        return {child["kind"] for child in desired(make_model(**spec), settings, Cluster())}

    assert "PodDisruptionBudget" in kinds(replicas=2)
    assert "PodDisruptionBudget" not in kinds(replicas=1)
    assert "PodDisruptionBudget" not in kinds(replicas=2, suspend=True)
