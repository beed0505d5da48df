"""Durations and fractions in the form that Kubernetes writes them."""

import re

import pytest
from controllable_operator.api import ComputeBudget, ControllableModel, PathPruning
from controllable_operator.api.types import seconds
from controllable_operator.errors import InvalidSpec
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600), ("1.5m", 90), ("0s", 0)]
)
def test_a_duration_is_read_as_seconds(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "30 s", "1d", "30s later"])
def test_what_is_not_a_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 30s"):
        seconds(text)


@given(st.integers(0, 100), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(hours: int, minutes: int, rest: int) -> None:
    assert seconds(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest


@given(st.decimals(min_value=0, max_value=2, places=4))
def test_every_coefficient_from_0_to_2_can_be_written(value: object) -> None:
    assert ComputeBudget(max_coefficient=str(value), min_coefficient="0").max_coefficient == str(value)


@given(st.from_regex(re.compile(r"\A[0-9.]{1,6}\Z")))
def test_a_threshold_that_is_accepted_is_a_number_in_0_to_1(text: str) -> None:
    try:
        accepted = PathPruning(threshold=text).threshold
    except ValueError:
        return
    assert 0 <= float(accepted) <= 1


def test_a_resource_that_cannot_be_read_names_the_field() -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.replicas"):
        ControllableModel.parse(
            {
                "metadata": {"name": "nano", "namespace": "test", "uid": "u", "generation": 1},
                "spec": {"model": {"uri": "image:///models/nano"}, "replicas": -1},
            }
        )
