import math

import pytest
from controllable_inference.bench import wording
from controllable_inference.learn.statistics import Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.4, "1,234"), (-3.0, "−3"), (-0.2, "0"), (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "–")],
)
def test_numbers(value, text):
    assert wording.number(value) == text


def test_shares_and_points_have_signs_where_they_are_differences():
    assert wording.percent(0.123) == "12.3 %"
    assert wording.percent(-0.65, 0, signed=True) == "−65 %"
    assert wording.points(0.0031) == "+0.3"
    assert wording.points_interval(Interval(-0.01, -0.02, 0.005)) == "−1.0 [−2.0, +0.5]"
    assert wording.percent_interval(Interval(0.5, 0.45, 0.55), 0) == "50 % [45, 55]"


def test_large_numbers_have_units():
    assert wording.large(3.071e9) == "3.07 G"
    assert wording.large(950) == "950"
    assert wording.large(math.inf) == "∞"


def test_a_table_is_markdown_with_numbers_to_the_right():
    assert wording.table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
