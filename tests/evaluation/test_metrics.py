import pytest
from controllable_inference.evaluation.metrics import auc, bootstrap, spearman, within_auc


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
