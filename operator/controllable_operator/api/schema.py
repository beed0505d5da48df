"""From pydantic's JSON Schema to the structural OpenAPI schema that a CustomResourceDefinition wants."""

import json
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of `model`: references inlined, nulls dropped, no titles.

    What Kubernetes has no word for is removed: `title`, `additionalProperties: false` (the API server prunes
    unknown fields by itself) and `null` (an absent field is an absent field).
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    result = _convert(schema, schema.get("$defs", {}))
    assert isinstance(result, dict)
    return result


def _convert(node: Any, definitions: dict[str, Schema]) -> Any:
    if isinstance(node, list):
        return [_convert(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = _resolved(_without_null(node), definitions)
    return {
        key: _CONVERTERS.get(key, _convert)(value, definitions)
        for key, value in node.items()
        if not _is_unspeakable(key, value)
    }


def _properties(properties: dict[str, Schema], definitions: dict[str, Schema]) -> dict[str, Schema]:
    # Keys here are names of fields, and a field may well be called `title`.
    return {name: _telling_default(_convert(value, definitions)) for name, value in properties.items()}


def _telling_default(field: Schema) -> Schema:
    """`kubectl explain` is silent about defaults, so the description of a plain field ends with its own."""
    default = field.get("default")
    if default in (None, "") or isinstance(default, dict | list):
        return field
    told = str(default) if isinstance(default, str) else json.dumps(default)
    return field | {"description": f"{field['description']} Default: {told}."}


def _default(value: Any, _: dict[str, Schema]) -> Any:
    # Complete, as the API server checks a default against the rules before it fills in those further down.
    if isinstance(value, dict):
        return {key: _default(item, _) for key, item in value.items() if item is not None}
    return value


_CONVERTERS = {"properties": _properties, "default": _default}


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """`node` with its reference put in place. What stands beside the reference wins (say, a default)."""
    if "$ref" not in node:
        return node
    target = definitions[node["$ref"].removeprefix("#/$defs/")]
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return _resolved(target, definitions) | beside


def _without_null(node: Schema) -> Schema:
    options = node.get("anyOf")
    if options is None or {"type": "null"} not in options:
        return node
    rest = [option for option in options if option != {"type": "null"}]
    assert len(rest) == 1, f"a field is one type or absent, not {options}"
    return rest[0] | {key: value for key, value in node.items() if key != "anyOf"}


def _is_unspeakable(key: str, value: Any) -> bool:
    return (
        key in {"$defs", "title"}
        or (key == "additionalProperties" and value is False)
        or (key == "default" and value is None)
    )
