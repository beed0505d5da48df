"""Specs of all kinds out of the definition's schema: right ones, and ones with something odd in one place."""

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]

# What people, templating engines and attackers put where something else belongs.
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(
        [-1, 0, 1, 2**31, 0.5, -0.0, 1e300, "", " ", "0", "-1", "1e3", "true", "null", "a" * 2000]
    ),
    st.sampled_from(
        ["ünïcödé", "模型", "\u202e", "\x00", "🙂" * 64, "{{ .Values.x }}", "${HOME}", "../..", "%s"]
    ),
    st.text(max_size=40),
    st.just([]),
    st.just({}),
    st.lists(st.text(max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
_KEYS = st.from_regex(r"[a-z][-a-z0-9./]{0,20}[a-z0-9]", fullmatch=True)


def right(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema's own words allow; its CEL rules may still refuse them."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.one_of(st.integers(0, 64), st.sampled_from(["1", "500m", "2Gi", "1e3", "0.5"]))
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "integer":
            return _integers(schema)
        case "string":
            return _strings(schema)
        case "array":
            return st.lists(right(schema["items"]), max_size=min(3, schema.get("maxItems", 3)))
        case "object":
            return _objects(schema)
    raise AssertionError(f"no values for {schema}")


def _integers(schema: Schema) -> st.SearchStrategy[int]:
    least, most = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
    return st.one_of(st.sampled_from([least, most]), st.integers(least, min(most, least + 20)))


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 40)
    if pattern := schema.get("pattern"):
        return st.from_regex(pattern, fullmatch=True).filter(lambda text: least <= len(text) <= most)
    return st.one_of(
        st.from_regex(r"[a-z][-a-z0-9]{0,20}", fullmatch=True),
        st.text(min_size=least, max_size=min(most, 40)),
    )


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    if isinstance(values := schema.get("additionalProperties"), dict):
        return st.dictionaries(_KEYS, right(values), max_size=3)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.sampled_from(POD_FIELDS), ODD, max_size=2)
    fields = {name: right(field) for name, field in schema.get("properties", {}).items()}
    required = {name: fields[name] for name in schema.get("required", [])}
    optional = {name: strategy for name, strategy in fields.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


# Fields of a PodSpec, for the parts of a spec whose form only the API server knows.
POD_FIELDS = ["containers", "volumes", "nodeSelector", "tolerations", "priorityClassName", "hostNetwork", "x"]


@st.composite
def specs(draw: st.DrawFn, schema: Schema, uris: list[str]) -> dict[str, Any]:
    """A spec with mostly a few parts stated, often with one odd value somewhere."""
    spec: dict[str, Any] = draw(right(_with_some_fields(draw, schema)))
    if draw(st.integers(0, 3)):
        spec["model"] = {"uri": draw(st.sampled_from(uris))}
    if draw(st.booleans()):
        _spoil(draw, spec)
    return spec


def _with_some_fields(draw: st.DrawFn, schema: Schema) -> Schema:
    names = sorted(schema["properties"].keys() - schema["required"])
    some = draw(st.sets(st.sampled_from(names), max_size=3)) | set(schema["required"])
    return schema | {"properties": {name: schema["properties"][name] for name in sorted(some)}}


def _spoil(draw: st.DrawFn, value: Any) -> None:
    """Put something odd in the place of a part, or under a name that is not known."""
    while isinstance(value, dict | list) and value:
        keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        if not isinstance(value[key], dict | list) or not value[key] or not draw(st.integers(0, 3)):
            if isinstance(value, dict) and draw(st.booleans()):
                key = draw(st.text(min_size=1, max_size=10))
            value[key] = draw(ODD)
            return
        value = value[key]
