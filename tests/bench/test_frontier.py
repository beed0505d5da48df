import numpy as np
import pytest
from controllable_inference.bench.frontier import (
    Setting,
    accuracy_at,
    cost_at,
    efficient,
    mix_at,
    no_loss,
)
from controllable_inference.learn.statistics import Estimate, Interval


def known(value):
    """A figure without uncertainty."""
    return Estimate(value, np.full(3, float(value)))


LINE = [Setting("many", known(400), known(0.7)), Setting("one", known(100), known(0.5))]


def test_between_two_settings_cost_and_accuracy_lie_on_the_straight_line():
    assert cost_at(LINE, known(0.6)).value == pytest.approx(250)
    assert accuracy_at(LINE, known(250)).value == pytest.approx(0.6)


def test_what_the_cheapest_setting_reaches_costs_no_less_than_that():
    assert cost_at(LINE, known(0.4)).value == 100


def test_an_accuracy_that_no_setting_reaches_costs_infinitely():
    assert cost_at(LINE, known(0.71)).value == np.inf


def test_a_mix_is_read_in_other_costs_too_in_every_round_of_the_bootstrap():
    low = Setting("one", known(100), Estimate(0.5, np.array([0.4, 0.5, 0.8])))
    mix = mix_at([low, LINE[0]], known(0.6))
    chain = mix.of({"one": known(90), "many": known(30)})
    assert mix.names == ["one", "many"]
    assert chain.value == pytest.approx(60)
    assert chain.draws == pytest.approx([90 - 60 * 2 / 3, 60, 90])
    assert mix_at(LINE, known(0.71)).of({"one": known(1), "many": known(1)}).value == np.inf


def test_beyond_the_ends_accuracy_stays_what_it_is_there():
    assert accuracy_at(LINE, known(50)).value == 0.5
    assert accuracy_at(LINE, known(900)).value == 0.7


def test_every_round_of_the_bootstrap_has_its_own_frontier():
    low = Setting("one", known(100), Estimate(0.5, np.array([0.4, 0.5, 0.65])))
    rounds = cost_at([low, LINE[0]], known(0.6))
    assert rounds.value == pytest.approx(250)
    assert rounds.draws == pytest.approx([100 + 300 * 2 / 3, 250, 100])


def test_a_frontier_that_dips_is_left_at_its_first_crossing():
    dip = [*LINE, Setting("dip", known(700), known(0.6)), Setting("top", known(900), known(0.8))]
    assert cost_at(dip, known(0.65)).value == pytest.approx(325)
    assert cost_at(dip, known(0.75)).value == pytest.approx(850)


def test_settings_that_cost_more_and_bring_no_more_are_left_out():
    figures = {"b": (200, 0.6), "a": (100, 0.5), "worse": (150, 0.5), "same": (300, 0.6), "c": (400, 0.7)}
    assert efficient(figures) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("difference", "as_good"),
    [
        (Interval(0.0, -0.009, 0.01), True),
        (Interval(-0.003, -0.01, 0.004), True),
        (Interval(-0.004, -0.008, 0.0), False),  # worse as measured
        (Interval(0.002, -0.02, 0.02), False),  # too uncertain to tell
    ],
)
def test_no_loss_is_measured_and_certain_enough(difference, as_good):
    assert no_loss(difference) is as_good
