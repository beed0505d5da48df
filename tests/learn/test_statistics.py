import numpy as np
import pytest
from controllable_inference.learn.statistics import (
    Bin,
    Resamples,
    auc,
    bootstrap,
    calibration_bins,
    calibration_error,
    spearman,
    within_auc,
)


def test_a_bootstrap_interval_holds_the_mean_and_is_the_same_every_time():
    values = [0.0, 1.0] * 50
    interval = bootstrap(values)
    assert interval.mean == 0.5
    # The normal approximation gives 0.5 +- 1.96 * 0.5 / sqrt(100).
    assert interval.low == pytest.approx(0.402, abs=0.02)
    assert interval.high == pytest.approx(0.598, abs=0.02)
    assert interval == bootstrap(values)


def test_no_problems_have_no_mean():
    with pytest.raises(ValueError, match="no problems"):
        bootstrap([])


def test_auc_counts_pairs_in_the_right_order_and_ties_half():
    # Pairs (positive, negative): (0.9, 0.5) won, (0.9, 0.9) tied, (0.4, 0.5) lost, (0.4, 0.9) lost.
    assert auc([0.9, 0.4, 0.5, 0.9], [1, 1, 0, 0]) == pytest.approx(1.5 / 4)


def test_auc_of_one_class_is_unknown():
    assert auc([0.1, 0.2], [1, 1]) is None


def test_within_auc_ignores_that_one_problem_is_easier_than_another():
    scores = [0.9, 0.8, 0.2, 0.1]
    outcomes = [1, 0, 0, 1]
    assert auc(scores, outcomes) == pytest.approx(0.5)
    # In the first problem the right path scores higher, in the second lower.
    assert within_auc(scores, outcomes, [0, 0, 1, 1]) == pytest.approx(0.5)
    assert within_auc(scores[:2], outcomes[:2], [0, 0]) == 1.0
    assert within_auc([0.9, 0.1], [1, 0], [0, 1]) is None


def test_spearman_sees_order_only_and_shares_the_ranks_of_ties():
    assert spearman([1, 2, 30], [0.1, 0.2, 0.3]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(0.866, abs=1e-3)


def test_figures_of_the_same_problems_are_compared_in_pairs():
    values = np.linspace(0, 1, 200)
    resamples = Resamples(200)
    one, other = resamples.mean(values), resamples.mean(values + 0.1)
    assert one.interval.high - one.interval.low > 0.05
    difference = (other - one).interval
    assert difference.mean == pytest.approx(0.1)
    assert difference.high - difference.low < 1e-9
    saved = one.saved_against(one * 2.0).interval
    assert (saved.low, saved.mean, saved.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_mean_has_the_interval_that_bootstrap_gives_it():
    values = [0.0, 1.0] * 50
    ours, theirs = Resamples(100).mean(values).interval, bootstrap(values)
    assert (ours.low, ours.mean, ours.high) == pytest.approx((theirs.low, theirs.mean, theirs.high), abs=0.02)


def test_a_ratio_weighs_a_problem_by_its_own_whole():
    assert Resamples(2).ratio([1, 3], [1, 9]).value == pytest.approx(4 / 10)


def test_what_no_round_can_know_has_no_interval_and_what_costs_infinitely_has_an_infinite_end():
    resamples = Resamples(4)
    unknown = resamples.ratio([0, 0, 0, 0], [0, 0, 0, 0]).interval
    assert np.isnan([unknown.mean, unknown.low, unknown.high]).all()
    assert (resamples.mean([1, 1, 1, 1]) * float("inf")).interval.high == float("inf")


def test_quantiles_are_values_that_occurred():
    values = np.arange(1, 101, dtype=float)
    p99 = Resamples(100).quantile(values, 0.99)
    assert p99.value == 99
    assert set(p99.draws) <= set(values)
    assert p99.interval.low < 99 <= p99.interval.high
    assert Resamples(100).quantile(values, 0.5).value == 50


def test_resampled_auc_has_the_value_of_auc_and_leaves_a_problem_in_or_out_as_a_whole():
    rng = np.random.default_rng(1)
    problems = np.repeat(np.arange(40), 5)
    outcomes = (rng.random(200) < 0.5).astype(float)
    scores = np.round(outcomes * 0.5 + rng.random(200), 1)
    resamples = Resamples(40, rounds=200)
    pooled = resamples.auc(scores, outcomes, problems)
    assert pooled.value == pytest.approx(auc(scores, outcomes))
    within = resamples.within_auc(scores, outcomes, problems)
    assert within.value == pytest.approx(within_auc(scores, outcomes, problems))
    drawn = np.repeat(np.arange(40), resamples.counts[7].astype(int))
    paths = np.concatenate([np.flatnonzero(problems == problem) for problem in drawn])
    assert pooled.draws[7] == pytest.approx(auc(scores[paths], outcomes[paths]))


def test_calibration_error_is_the_mean_gap_between_what_was_said_and_what_came():
    assert calibration_error([Bin(0.2, 0.1, 0.5), Bin(0.8, 1.0, 0.5)]) == pytest.approx(0.15)


def test_bins_hold_equal_weight_and_honest_scores_have_no_error():
    rng = np.random.default_rng(2)
    scores = rng.random(20_000)
    outcomes = (rng.random(20_000) < scores).astype(float)
    bins = calibration_bins(scores, outcomes, np.ones(20_000))
    assert [b.weight for b in bins] == pytest.approx([0.1] * 10)
    assert calibration_error(bins) < 0.02
    assert calibration_error(calibration_bins(scores**2, outcomes, np.ones(20_000))) > 0.1
    heavy = calibration_bins(np.array([0.1, 0.9]), np.array([0.0, 1.0]), np.array([3.0, 1.0]), bins=2)
    assert [b.weight for b in heavy] == pytest.approx([0.75, 0.25])


def test_of_right_paths_alone_exactly_all_are_right():
    """A little more than 1 would be a probability that the engine refuses."""
    weights = np.random.default_rng(4).random(1000)
    bins = calibration_bins(np.linspace(0, 1, 1000), np.ones(1000), weights, bins=40)
    assert {b.outcome for b in bins} == {1.0}


def test_the_interval_of_a_calibration_error_holds_the_error_of_honest_scores():
    rng = np.random.default_rng(3)
    problems = np.repeat(np.arange(500), 8)
    scores = rng.random(4000)
    outcomes = (rng.random(4000) < scores).astype(float)
    bins, intervals, error = Resamples(500, rounds=300).calibration(scores, outcomes, np.ones(4000), problems)
    assert error.mean == pytest.approx(calibration_error(bins))
    assert error.low < 0.005 < error.high < 0.03
    assert all(i.low < b.score < i.high for b, i in zip(bins, intervals, strict=True))
