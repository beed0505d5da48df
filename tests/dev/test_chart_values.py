"""The charts' values: told once, in the schema, and everything else follows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.chart_values import readmes

CHARTS = sorted(path.parent for path in (Path(__file__).parents[2] / "charts").glob("*/Chart.yaml"))
each_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)


def objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, schema) of everything under `schema`, with itself."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from objects(field, f"{path}.{name}")
        yield from objects(field.get("items", {}), f"{path}.{name}[]")


def schema_of(chart: Path) -> dict[str, Any]:
    return dict(json.loads((chart / "values.schema.json").read_text()))


@each_chart
def test_every_value_says_what_it_means(chart: Path) -> None:
    fields = [(path, field) for path, field in objects(schema_of(chart)) if path and not path.endswith("]")]
    assert [path for path, field in fields if len(field.get("description", "")) < 10] == []


@each_chart
def test_a_misspelt_value_is_nowhere_accepted(chart: Path) -> None:
    open_ = [
        path
        for path, field in objects(schema_of(chart))
        if "properties" in field and field.get("additionalProperties") is not False
    ]
    assert open_ == []


@each_chart
def test_the_values_file_states_every_value_of_the_schema(chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())
    assert set(values) == set(schema_of(chart)["properties"]) - {"global"}


def test_the_readmes_are_what_the_schemas_say() -> None:
    stale = [path for path, text in readmes().items() if path.read_text() != text]
    assert stale == []
