"""The CustomResourceDefinition: what `kubectl explain` shows and what the API server fills in."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from controllable_operator.api import ControllableModel, Spec
from controllable_operator.api.crd import custom_resource_definition
from controllable_operator.api.generate import generated_files

CRD = custom_resource_definition()
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, name, schema) of every field under `schema`."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", name, field
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}[]")


def defaulted(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """`value` with the schema's defaults filled in, as the API server does it."""
    result = dict(value)
    for name, field in schema.get("properties", {}).items():
        if name not in result and "default" in field:
            result[name] = field["default"]
        if name in result and "properties" in field:
            result[name] = defaulted(field, result[name])
    return result


SPEC_FIELDS = [*fields(ROOT["properties"]["spec"], "spec"), *fields(ROOT["properties"]["status"], "status")]


@pytest.mark.parametrize(("path", "name", "field"), SPEC_FIELDS, ids=[path for path, _, _ in SPEC_FIELDS])
def test_every_description_starts_with_the_json_name(path: str, name: str, field: dict[str, Any]) -> None:
    assert field.get("description", "").startswith(f"{name} "), path


def test_the_schema_fills_in_the_same_defaults_as_the_types() -> None:
    minimal = {"model": {"uri": "image:///models/nano"}}
    assert defaulted(ROOT["properties"]["spec"], minimal) == Spec.model_validate(minimal).to_json()


def test_the_schema_is_structural() -> None:
    def check(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                check(item)
        elif isinstance(node, dict):
            assert "$ref" not in node
            assert "$defs" not in node
            assert node.get("type") != "null"
            assert node.get("additionalProperties") is not False
            assert "exclusiveMinimum" not in node
            for value in node.values():
                check(value)

    check(ROOT)


def test_every_rule_has_a_message_for_people() -> None:
    def rules(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield from node.get("x-kubernetes-validations", [])
            for value in node.values():
                yield from rules(value)

    found = list(rules(ROOT))
    assert len(found) >= 10
    assert all(len(rule["message"]) > 20 for rule in found)


def test_the_resource_has_a_short_name_a_category_and_both_subresources() -> None:
    names = CRD["spec"]["names"]
    assert names["shortNames"] == ["cmodel"]
    assert names["categories"] == ["all"]
    assert VERSION["subresources"]["status"] == {}
    assert VERSION["subresources"]["scale"]["labelSelectorPath"] == ".status.selector"


def test_committed_files_are_what_the_generator_writes() -> None:
    for path, text in generated_files().items():
        assert path.read_text() == text, f"{path} is stale: run `make generate`"


def test_the_plain_file_is_the_definition_itself() -> None:
    path = next(path for path in generated_files() if path.parent.name == "crds")
    assert yaml.safe_load(path.read_text()) == CRD


def test_fields_of_a_newer_definition_are_ignored() -> None:
    model = ControllableModel.parse(
        {
            "metadata": {"name": "nano", "namespace": "test", "uid": "u", "generation": 1},
            "spec": {"model": {"uri": "image:///models/nano", "fromTheFuture": True}},
        }
    )
    assert model.spec.model.uri == "image:///models/nano"
