"""Whatever people write into a spec: refused by its field, made into children, or told as InvalidSpec.

Specs out of the definition's own schema go to a real API server, which keeps none of them.
"""

import json
from collections import Counter
from typing import Any
from urllib.parse import urlencode

import kubernetes
import pytest
from cluster_fixtures import PAUSE, Kubectl
from controllable_operator.api import API_VERSION, KIND, ControllableModel
from controllable_operator.api.crd import custom_resource_definition
from controllable_operator.client import Client
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired
from controllable_operator.drift import stamped
from controllable_operator.errors import InvalidSpec
from controllable_operator.kinds import MODEL, child_kind
from controllable_operator.settings import Settings
from crd_strategies import specs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
    "spec"
]
URIS = ["image:///models/nano", "hf://org/repo", "pvc://claim/path", "pvc://claim"]
NAMES = st.sampled_from(["nano", "a", "x" * 50, "r1-13b"])


class DryRun(Client):
    """The operator's own client, whose writes are checked by the API server and then forgotten."""

    def _call(self, verb: str, resource: str, path: str, *, query: Any = None, **more: Any) -> Any:
        return super()._call(verb, resource, path, query=(query or {}) | {"dryRun": "All"}, **more)


class Server:
    """The API server, asked without a kubectl process for each question."""

    def __init__(self, namespace: str) -> None:
        kubernetes.config.load_config()
        self.namespace, self._api = namespace, kubernetes.client.ApiClient()
        self.children = DryRun(self._api)

    def create(self, spec: Any, name: str = "nano") -> tuple[int, dict[str, Any]]:
        """Status and answer to a model with this spec. Unknown fields are refused, as kubectl has it."""
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
        query = urlencode({"dryRun": "All", "fieldValidation": "Strict"})
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = self._api.param_serialize(
            "POST",
            f"{MODEL.path(self.namespace)}?{query}",
            header_params=headers,
            body=manifest,
            auth_settings=["BearerToken"],
        )
        response = self._api.call_api(*request)
        return response.status, json.loads(response.read())

    def build(self, accepted: dict[str, Any]) -> None:
        """Build the children of an accepted model as the operator does.

        Raises:
            InvalidSpec: they can't be built, or the API server does not take them.
        """
        model = ControllableModel.parse(accepted)
        for child in desired(model, Settings(runtime_image=PAUSE), Cluster(custom_metrics=True)):
            self.children.apply(child_kind(child), stamped(child))


@pytest.fixture
def server(kubectl: Kubectl) -> Server:
    return Server(kubectl.namespace)


def names_what_is_wrong(answer: dict[str, Any]) -> bool:
    causes = answer.get("details", {}).get("causes", [])
    # <nil>: "some validation rules were not checked", beside what is wrong. What the scale subresource finds
    # wrong has a leading dot.
    fields = [field.lstrip(".") for cause in causes if (field := cause.get("field", "")) != "<nil>"]
    return all(field.startswith(("spec", "metadata.name")) for field in fields) and (
        bool(fields) or '"spec.' in answer["message"] or "unknown field" in answer["message"]
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_specs_of_all_kinds_are_refused_by_field_or_built_or_told_as_invalid(
    server: Server, record_property: Any, count: int
) -> None:
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(spec=specs(SCHEMA, URIS), name=NAMES)
    def each(spec: dict[str, Any], name: str) -> None:
        status, answer = server.create(spec, name)
        if status != 201:
            assert status in {400, 422}, answer
            assert names_what_is_wrong(answer), answer["message"]
            outcomes["refused"] += 1
            return
        try:
            server.build(answer)
            outcomes["built"] += 1
        except InvalidSpec:
            outcomes["told as InvalidSpec"] += 1

    each()
    print(dict(outcomes))
    record_property("outcomes", dict(outcomes))
    assert outcomes["refused"] >= count // 10
    assert outcomes["built"] >= count // 10


def test_a_spec_of_200_kib_is_no_trouble(server: Server) -> None:
    labels = {f"label-{i}": "x" * 60 for i in range(40)}
    peers = [{"podSelector": {"matchLabels": labels}} for _ in range(70)]
    spec = {"model": {"uri": URIS[0]}, "networkPolicy": {"allowFrom": peers}}
    assert len(json.dumps(spec)) > 200 * 1024
    status, answer = server.create(spec)
    if status == 201:
        server.build(answer)
    else:
        assert names_what_is_wrong(answer), answer["message"]


@pytest.mark.parametrize("length", [51, 63, 253])
def test_a_name_too_long_for_the_children_is_refused_by_the_name(server: Server, length: int) -> None:
    status, answer = server.create({"model": {"uri": URIS[0]}}, "x" * length)
    assert status == 422
    assert "metadata.name must start with a letter" in answer["message"]
    assert "at most 50 characters" in answer["message"]


def test_the_longest_name_allowed_has_children_that_are_accepted(server: Server) -> None:
    status, answer = server.create({"model": {"uri": URIS[0]}, "scaling": {"maxReplicas": 3}}, "x" * 50)
    assert status == 201, answer
    server.build(answer)
